//! `uarr tables` and `uarr table`: the tables of a database.

use serde_json::json;
use uarr::{Expiry, KeyKind, TableInfo, TableOptions};

use crate::args::{Global, TableCommand};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::open::Absent;
use crate::output::{Output, counted, one_line};

/// Runs `tables`.
pub fn list(global: &Global, out: &mut Output) -> Result<Exit> {
    for table in global.open(Absent::Refuse)?.tables()? {
        show(&table, out)?;
    }
    Ok(Exit::Done)
}

fn show(table: &TableInfo, out: &mut Output) -> Result<()> {
    let ttl = match table.expiry {
        Expiry::In(time) => Some(humantime::format_duration(time).to_string()),
        Expiry::Never | Expiry::At(_) => None,
    };
    let value = json!({
        "name": table.name,
        "number": table.number,
        "key_kind": table.keys.to_string(),
        "keys": table.key_count,
        "ttl": ttl,
        "durable": table.durable,
    });
    let ttl = ttl.map_or(String::new(), |ttl| format!(", they expire after {ttl}"));
    let durable = if table.durable { ", each write is durable" } else { "" };
    let text = format!(
        "{}  {}, {} keys{ttl}{durable}\n",
        one_line(&table.name),
        counted(table.key_count, "record"),
        table.keys
    );
    out.result(&value, text)
}

/// Runs `table`.
pub fn run(global: &Global, what: &TableCommand, out: &mut Output) -> Result<Exit> {
    match what {
        TableCommand::Create { name, ttl, durable } => {
            let mut options = TableOptions::new();
            if let Some(kind) = global.key_kind {
                options = options.keys(KeyKind::from(kind));
            }
            if let Some(ttl) = ttl {
                options = options.expires_in(*ttl);
            }
            if *durable {
                options = options.durable();
            }
            create(global, name, options, out)
        }
        TableCommand::Drop { name } => {
            let db = global.open(Absent::Refuse)?;
            if !db.drop_table(name)? {
                return Err(Failure::no_table(name).into());
            }
            db.close()?;
            out.result(&json!({ "dropped": name }), "")?;
            Ok(Exit::Done)
        }
        TableCommand::Clear { name } => {
            let db = global.open(Absent::Refuse)?;
            if db.clear_table(name)?.is_none() {
                return Err(Failure::no_table(name).into());
            }
            db.close()?;
            out.result(&json!({ "cleared": name }), "")?;
            Ok(Exit::Done)
        }
    }
}

fn create(global: &Global, name: &str, options: TableOptions, out: &mut Output) -> Result<Exit> {
    // The kind is that of the table: the default one has its own.
    let of_database = Global { key_kind: None, ..global.clone() };
    let db = of_database.open(Absent::Create)?;
    if db.find_table(name)?.is_some() {
        let message = format!("there is a table '{name}' already");
        return Err(Failure::missing("condition_failed", message).into());
    }
    let number = db.table_with(name, options)?.number();
    db.close()?;
    out.result(&json!({ "created": name, "number": number }), "")?;
    Ok(Exit::Done)
}
