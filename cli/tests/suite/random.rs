//! Random input.

use proptest::prelude::*;

/// JSON texts.
pub fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i128>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        prop::num::f64::NORMAL.prop_map(|value| format!("{value:e}")),
        any::<String>().prop_map(|value| serde_json::Value::from(value).to_string()),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = "[a-c\\.\u{e9}]{0,3}".prop_map(|name| serde_json::Value::from(name).to_string());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6)
                .prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::btree_map(name, inner, 0..6).prop_map(|all| {
                let all: Vec<_> =
                    all.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("{{{}}}", all.join(","))
            }),
        ]
    })
}
