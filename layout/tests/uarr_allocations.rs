//! Reading and writing into warm storage allocate nothing.

use allocation_counter::measure;
use uarr_layout::uarr::{Builder, Key, Shape, UArrRef, shape, uarr, validate_with};

fn allocations(run: impl FnOnce()) -> u64 {
    measure(run).count_total
}

#[test]
fn reading_allocates_nothing() {
    static NAME: Key = Key::new("name");
    let record = uarr!({
        "name": "Ada Lovelace", "a": { "b": [1, "x", { "c": 2.5 }] }, "vec": f32[1.0, 2.0],
    });
    let known = record.as_ref().shapes_area().to_vec();
    let count = allocations(|| {
        let value = UArrRef::open(&record).expect("valid");
        let checked = UArrRef::validate(&record).expect("valid");
        let compared = validate_with(&record, &known).expect("valid");
        assert_eq!(compared.len(), checked.len());
        assert_eq!(value.get(&NAME).and_then(|name| name.as_str()), Some("Ada Lovelace"));
        assert_eq!(value.get("a").and_then(|a| a.len()), Some(1));
        assert_eq!(value.get_path("a.b[2].c").and_then(|c| c.as_f64()), Some(2.5));
        assert_eq!(value.path(["a", "b"]).and_then(|b| b.len()), Some(3));
        assert_eq!(value.at("vec").as_slice::<f32>().map(|v| v.len()), Ok(2));
        assert_eq!(value.entries().count() + value.at("a").at("b").iter().count(), 6);
    });
    assert_eq!(count, 0);
}

#[test]
fn validation_up_to_eight_kib_of_shapes_allocates_nothing() {
    let mut builder = Builder::new();
    let record = builder.list(|list| {
        for i in 0..300 {
            list.object(|o| o.field(&format!("n{i}"), i));
        }
    });
    let record = record.expect("within the limits");
    assert!(record.as_ref().shapes_area().len() <= 8 << 10);
    assert_eq!(allocations(|| assert!(UArrRef::validate(record).is_ok())), 0);
}

#[test]
fn writing_into_warm_storage_allocates_nothing() {
    static POINT: Shape = shape!["x", "y"];
    let mut builder = Builder::new();
    let mut write = |id: i64| {
        let record = builder.object(|o| {
            o.field("id", id);
            o.field("name", "Ada Lovelace");
            o.slice("vec", &[1.0f32, 2.0]);
            o.shaped("pos", &POINT, |point| {
                point.push(0.5);
                point.push(id);
            });
            o.list("rows", |rows| {
                for row in 0..10 {
                    rows.object(|o| {
                        o.field("row", row);
                        o.field("text", "out of line text");
                    });
                }
            });
        });
        record.expect("within the limits").len()
    };
    let len = write(1);
    assert_eq!(allocations(|| assert_eq!(write(2), len)), 0);
}

#[cfg(feature = "json")]
#[test]
fn json_into_warm_storage_allocates_nothing() {
    let text = r#"{"id": 7, "list": [1, 2, 3], "mixed": [1, "x", {"y": 1.5}], "s": "plain text"}"#;
    let mut builder = Builder::new();
    let len = builder.json(text).expect("valid").len();
    assert_eq!(allocations(|| assert_eq!(builder.json(text).expect("valid").len(), len)), 0);
}

#[test]
fn serde_into_warm_storage_allocates_nothing() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Row<'a> {
        id: u64,
        name: &'a str,
        vector: [f32; 4],
    }
    let row = Row { id: 7, name: "a name out of line", vector: [1.0; 4] };
    let mut builder = Builder::new();
    let bytes = builder.serialize(&row).expect("valid").to_vec();
    assert_eq!(allocations(|| assert!(builder.serialize(&row).is_ok())), 0);
    let count = allocations(|| {
        let read: Row<'_> = uarr_layout::uarr::from_slice(&bytes).expect("valid");
        assert_eq!((read.id, read.name), (7, "a name out of line"));
    });
    assert_eq!(count, 0);
}
