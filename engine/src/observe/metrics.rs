//! Statistics as metrics (feature `metrics`).

use metrics::{Label, counter, gauge};

use crate::meters::histogram::Distribution;
use crate::observe::stats::Stats;

const NS_PER_S: f64 = 1e9;

impl Stats {
    /// Gives these numbers to the recorder of the crate `metrics`, each with the label `database`.
    /// A program does so before each scrape, or every few seconds; the engine itself never calls a
    /// recorder. Needs the feature `metrics`.
    ///
    /// Counters: `uarr_commits_total`, `uarr_records_total`, `uarr_groups_total`,
    /// `uarr_log_writes_total`, `uarr_log_flushes_total`, `uarr_log_bytes_total`,
    /// `uarr_checkpoints_total`, `uarr_expired_records_total`, `uarr_moved_bytes_total`. Gauges:
    /// `uarr_keys`, `uarr_visible_lsn`, `uarr_durable_lsn`, `uarr_live_bytes`,
    /// `uarr_retained_bytes`, `uarr_dead_bytes`, `uarr_waiting_bytes`, `uarr_free_bytes`,
    /// `uarr_data_allocated_bytes`, `uarr_index_bytes`, `uarr_oldest_pin_age_seconds`, and
    /// `uarr_background_error`, which is 1 while [`Stats::background_error`] is set. Distributions
    /// since the database was opened are gauges with the label `quantile` (0.5, 0.99, 0.999, 1):
    /// `uarr_commit_queue_seconds`, `uarr_commit_apply_seconds`, `uarr_commit_device_seconds`,
    /// `uarr_commit_wake_seconds`, `uarr_group_commits`, `uarr_group_bytes`,
    /// `uarr_wait_buffer_seconds`, `uarr_wait_space_seconds`, `uarr_wait_garbage_seconds`,
    /// `uarr_wait_room_seconds`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let db = uarr::Db::open(&dir)?;
    /// db.stats().record_metrics("users");
    /// # Ok(())
    /// # }
    /// ```
    pub fn record_metrics(&self, database: &str) {
        let label = Label::new("database", database.to_owned());
        let total = |name: &'static str, value| counter!(name, vec![label.clone()]).absolute(value);
        total("uarr_commits_total", self.commit_count);
        total("uarr_records_total", self.record_count);
        total("uarr_groups_total", self.group_count);
        total("uarr_log_writes_total", self.write_count);
        total("uarr_log_flushes_total", self.flush_count);
        total("uarr_log_bytes_total", self.log_bytes);
        total("uarr_checkpoints_total", self.checkpoint_count);
        total("uarr_expired_records_total", self.expired_count);
        total("uarr_moved_bytes_total", self.space.moved_bytes);
        let set = |name: &'static str, value: f64| gauge!(name, vec![label.clone()]).set(value);
        set("uarr_keys", self.key_count as f64);
        set("uarr_visible_lsn", self.visible_lsn as f64);
        set("uarr_durable_lsn", self.durable_lsn as f64);
        set("uarr_live_bytes", self.space.live_bytes as f64);
        set("uarr_retained_bytes", self.space.retained_bytes as f64);
        set("uarr_dead_bytes", self.space.dead_bytes as f64);
        set("uarr_waiting_bytes", self.space.waiting_bytes as f64);
        set("uarr_free_bytes", self.space.free_bytes as f64);
        set("uarr_data_allocated_bytes", self.data_allocated_bytes as f64);
        let ordered = self.ordered_index.as_ref().map_or(0, |index| index.bytes);
        set("uarr_index_bytes", (self.index.bytes + ordered) as f64);
        let pin_age = self.space.oldest_pin_age.unwrap_or_default();
        set("uarr_oldest_pin_age_seconds", pin_age.as_secs_f64());
        set("uarr_background_error", f64::from(u8::from(self.background_error.is_some())));
        let phases = &self.phases;
        record(&label, "uarr_commit_queue_seconds", &phases.queue, NS_PER_S);
        record(&label, "uarr_commit_apply_seconds", &phases.apply, NS_PER_S);
        record(&label, "uarr_commit_device_seconds", &phases.io, NS_PER_S);
        record(&label, "uarr_commit_wake_seconds", &phases.wake, NS_PER_S);
        record(&label, "uarr_group_commits", &phases.group_commits, 1.0);
        record(&label, "uarr_group_bytes", &phases.group_bytes, 1.0);
        let waits = &self.waits;
        record(&label, "uarr_wait_buffer_seconds", &waits.buffer, NS_PER_S);
        record(&label, "uarr_wait_space_seconds", &waits.space, NS_PER_S);
        record(&label, "uarr_wait_garbage_seconds", &waits.garbage, NS_PER_S);
        record(&label, "uarr_wait_room_seconds", &waits.room, NS_PER_S);
    }
}

/// Gauges of a distribution, in units of which `unit` are one.
fn record(database: &Label, name: &'static str, values: &Distribution, unit: f64) {
    let quantiles =
        [("0.5", values.p50), ("0.99", values.p99), ("0.999", values.p999), ("1", values.max)];
    for (quantile, value) in quantiles {
        let labels = vec![database.clone(), Label::from_static_parts("quantile", quantile)];
        gauge!(name, labels).set(value as f64 / unit);
    }
}
