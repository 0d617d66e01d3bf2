//! `uarr tables` and `uarr table`: the tables of a database.

use serde_json::{Value, json};
use uarr::{Expiry, KeyKind, TableInfo, TableOptions};

use crate::args::{Global, TableCommand};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::open::Absent;
use crate::output::{Output, counted, one_line, warn};

/// Runs `tables`.
pub fn list(global: &Global, out: &mut Output) -> Result<Exit> {
    let mut damage = None;
    for table in global.read()?.tables() {
        match table {
            Ok(table) => show(&table, out)?,
            Err(error) if damage.is_none() => damage = Some(error),
            Err(error) => warn(out.form, &error.to_string()),
        }
    }
    // The others are shown all the same.
    out.finish()?;
    damage.map_or(Ok(Exit::Done), |error| Err(error.into()))
}

fn show(table: &TableInfo, out: &mut Output) -> Result<()> {
    let text = format!(
        "{}  {}, {} keys{}\n",
        one_line(&table.name),
        counted(table.key_count, "record"),
        table.keys,
        options(table)
    );
    out.result(&to_json(table), text)
}

/// What the options of `table` say, behind what it holds.
fn options(table: &TableInfo) -> String {
    let unordered = if table.ordered { "" } else { ", without order" };
    let ttl = ttl(table).map_or(String::new(), |ttl| format!(", they expire after {ttl}"));
    let durable = if table.durable { ", each write is durable" } else { "" };
    [unordered, &ttl, durable].concat()
}

fn ttl(table: &TableInfo) -> Option<String> {
    match table.expiry {
        Expiry::In(time) => Some(humantime::format_duration(time).to_string()),
        Expiry::Never | Expiry::At(_) => None,
    }
}

/// What is told of a table, for programs.
pub fn to_json(table: &TableInfo) -> Value {
    json!({
        "name": table.name,
        "number": table.number,
        "key_kind": table.keys.to_string(),
        "ordered": table.ordered,
        "keys": table.key_count,
        "ttl": ttl(table),
        "durable": table.durable,
    })
}

/// Runs `table`.
pub fn run(global: &Global, what: &TableCommand, out: &mut Output) -> Result<Exit> {
    match what {
        TableCommand::Create { name, unordered, ttl, durable } => {
            let mut options = TableOptions::new();
            if let Some(kind) = global.key_kind {
                options = options.keys(KeyKind::from(kind));
            }
            if *unordered {
                options = options.unordered();
            }
            if let Some(ttl) = ttl {
                options = options.expires_in(*ttl);
            }
            if *durable {
                options = options.durable();
            }
            create(global, name, options, out)
        }
        TableCommand::Alter { name, ttl, no_ttl, durable, no_durable } => {
            let kind = global.key_kind.map(KeyKind::from);
            let mut options = kind.map_or(TableOptions::new(), |k| TableOptions::new().keys(k));
            if let Some(ttl) = ttl {
                options = options.expires_in(*ttl);
            }
            if *no_ttl {
                options = options.expires_never();
            }
            if *durable {
                options = options.durable();
            }
            if *no_durable {
                options = options.durable_as_database();
            }
            alter(global, name, options, out)
        }
        TableCommand::Drop { name } => {
            let db = global.open(Absent::Refuse)?;
            if !db.drop_table(name)? {
                return Err(Failure::no_table(name).into());
            }
            global.close(db)?;
            out.result(&json!({ "dropped": name }), "")?;
            Ok(Exit::Done)
        }
        TableCommand::Clear { name } => {
            let db = global.open(Absent::Refuse)?;
            if db.clear_table(name)?.is_none() {
                return Err(Failure::no_table(name).into());
            }
            global.close(db)?;
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
    let number = global.or_take_back(&db, || Ok(db.table_with(name, options)?.number()))?;
    global.close(db)?;
    out.result(&json!({ "created": name, "number": number }), "")?;
    Ok(Exit::Done)
}

fn alter(global: &Global, name: &str, options: TableOptions, out: &mut Output) -> Result<Exit> {
    let of_database = Global { key_kind: None, ..global.clone() };
    let db = of_database.open(Absent::Refuse)?;
    let altered = db.alter_table(name, options)?;
    let number = altered.ok_or_else(|| Failure::no_table(name))?.number();
    global.close(db)?;
    out.result(&json!({ "altered": name, "number": number }), "")?;
    Ok(Exit::Done)
}
