//! All rows under criterion.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    for mut row in uarr_layout_benches::rows() {
        let mut group = criterion.benchmark_group(row.group);
        group.warm_up_time(Duration::from_millis(300));
        group.measurement_time(Duration::from_secs(1));
        group.bench_function(row.name, |bencher| {
            bencher.iter_custom(|iterations| {
                let start = Instant::now();
                (row.run)(iterations);
                start.elapsed()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
