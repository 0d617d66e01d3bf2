//! Criterion over the phases that leave structures as they are, and inserts: how times spread.
//!
//! Ratios are for `table.rs`, where structures take turns. Times are CPU time of the thread here
//! too; `UARR_KEYS` is how many keys a set has (by default 1,000,000).

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uarr_index_benches::{IntWork, Phase, int_structures};

const SETS: [&str; 4] = ["uniform", "sequential", "bursts", "cantor"];
const PHASES: [Phase; 6] =
    [Phase::Hit, Phase::HitMany, Phase::Miss, Phase::Scan, Phase::Insert, Phase::Mixed];

fn beside(criterion: &mut Criterion) {
    let count = std::env::var("UARR_KEYS").ok().and_then(|text| text.parse().ok());
    for set in SETS {
        let work = IntWork::new(set, count.unwrap_or(1_000_000));
        let mut structures = int_structures();
        for structure in &mut structures {
            structure.run(Phase::Bulk, &work);
        }
        for phase in PHASES {
            let mut group = criterion.benchmark_group(format!("{set}/{}", phase.name()));
            group.sample_size(10);
            for structure in &mut structures {
                let Some(pass) = structure.run(phase, &work) else { continue };
                group.throughput(Throughput::Elements(pass.count as u64));
                group.bench_function(structure.name(), |bencher| {
                    bencher.iter_custom(|passes| {
                        let times = (0..passes).filter_map(|_| structure.run(phase, &work));
                        Duration::from_nanos(times.map(|pass| pass.total_ns).sum())
                    });
                });
            }
        }
    }
}

criterion_group!(benches, beside);
criterion_main!(benches);
