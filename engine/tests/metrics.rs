//! Statistics as metrics (feature `metrics`).
//!
//! Promise proved: a recorder gets the numbers of `Stats`, with the name of the database.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use uarr::Db;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, f64>>>);

/// One metric of them.
struct One(Kept, String);

impl One {
    fn set_to(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl CounterFn for One {
    fn increment(&self, _value: u64) {
        unreachable!("totals are absolute");
    }

    fn absolute(&self, value: u64) {
        self.set_to(value as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, _value: f64) {
        unreachable!("gauges are set");
    }

    fn decrement(&self, _value: f64) {
        unreachable!("gauges are set");
    }

    fn set(&self, value: f64) {
        self.set_to(value);
    }
}

impl Kept {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        Arc::new(One(self.clone(), format!("{}{{{labels}}}", key.name())))
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        unreachable!("quantiles are gauges")
    }
}

#[test]
fn a_recorder_gets_the_statistics() {
    let db = Db::in_memory().unwrap();
    db.batch().put("a", "1").put("b", "2").commit().unwrap();
    db.put("a", "3").unwrap();
    let stats = db.stats();
    let kept = Kept::default();
    metrics::with_local_recorder(&kept, || stats.record_metrics("users"));
    let kept = kept.0.lock().unwrap();
    let check = |name: &str, expected: f64| assert_eq!(kept[name], expected, "{name}");
    check("uarr_commits_total{database=users}", 2.0);
    check("uarr_records_total{database=users}", 3.0);
    check("uarr_keys{database=users}", 2.0);
    check("uarr_durable_lsn{database=users}", stats.durable_lsn as f64);
    check("uarr_live_bytes{database=users}", 128.0);
    check("uarr_background_error{database=users}", 0.0);
    check("uarr_group_commits{database=users,quantile=1}", stats.phases.group_commits.max as f64);
    let device = stats.phases.io.p99 as f64 / 1e9;
    check("uarr_commit_device_seconds{database=users,quantile=0.99}", device);
    check("uarr_wait_space_seconds{database=users,quantile=1}", stats.waits.space.max as f64 / 1e9);
    check("uarr_wait_room_seconds{database=users,quantile=0.5}", 0.0);
    // Without a recorder it is nothing.
    stats.record_metrics("users");
}
