//! Processors: how they save power, what interrupts them, and whether they are real.

use std::collections::BTreeMap;
use std::path::Path;

use super::fact::Group;
use super::finding::{Cost, Finding, Severity};
use super::floor::Floor;
use super::report::Report;
use super::root::{Reading, Root};

const CPU: &str = "/sys/devices/system/cpu";
const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0";
/// Idle states that take no longer to leave do not matter beside a device.
const IDLE_US_MAX: u64 = 20;
/// Clocks that are read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];
/// Whatever its name, a clock that is read in less is none of the slow ones.
const CLOCK_US_MIN: f64 = 0.1;
/// The hypervisor takes more than this part of the time for others.
const STEAL_MAX: f64 = 0.01;

/// Reports the processors.
pub fn look(root: &Root, floor: Option<&Floor>, report: &mut Report) {
    kind(root, report);
    governor(root, report);
    idle(root, floor, report);
    clock(root, floor, report);
    steal(root, report);
    quota(root, report);
}

fn kind(root: &Root, report: &mut Report) {
    let cpu = root.read("/proc/cpuinfo");
    let online = root.read(&format!("{CPU}/online"));
    let facts = &mut report.facts;
    facts.read(Group::Processor, "model", &cpu.part(cpu.field("model name")));
    facts.read(Group::Processor, "online", &online);
    let flags = cpu.field("flags");
    let is_virtual = flags.map(|flags| flags.split(' ').any(|flag| flag == "hypervisor"));
    let vendor = root.read("/sys/class/dmi/id/sys_vendor");
    let product = root.read("/sys/class/dmi/id/product_name");
    let maker = [&vendor, &product].map(|part| part.known().unwrap_or_default()).join(" ");
    let shown = match (is_virtual, maker.trim()) {
        (None, _) => Err("the processor does not say".to_owned()),
        (Some(false), _) => Ok("no".to_owned()),
        (Some(true), "") => Ok("yes; the machine names no maker".to_owned()),
        (Some(true), maker) => Ok(format!("yes, {maker}")),
    };
    facts.add(Group::Processor, "virtual machine", &cpu.source, shown);
}

/// The processors' folders in sysfs.
fn processors(root: &Root) -> Vec<String> {
    let names = root.list(CPU).into_iter();
    let is_one = |name: &String| {
        let digits = name.strip_prefix("cpu");
        digits.is_some_and(|digits| digits.parse::<u32>().is_ok())
    };
    names.filter(is_one).map(|name| format!("{CPU}/{name}")).collect()
}

fn governor(root: &Root, report: &mut Report) {
    let governors: Vec<Reading> = processors(root)
        .iter()
        .map(|cpu| root.read(&format!("{cpu}/cpufreq/scaling_governor")))
        .filter(|governor| governor.known().is_some())
        .collect();
    let driver = root.read(&format!("{CPU}/cpu0/cpufreq/scaling_driver"));
    let Some(first) = governors.first() else {
        let why = "no frequency can be chosen here, as in most virtual machines".to_owned();
        let source = format!("{CPU}/cpu0/cpufreq/scaling_governor");
        report.facts.add(Group::Processor, "governor", &source, Err(why));
        return;
    };
    let others = governors.iter().filter(|other| other.known() != first.known()).count();
    let shown = match others {
        0 => first.known().unwrap_or_default().to_owned(),
        _ => format!("{}, other on {others}", first.known().unwrap_or_default()),
    };
    report.facts.add(Group::Processor, "governor", &first.source, Ok(shown));
    report.facts.read(Group::Processor, "frequency driver", &driver);
    let preference = |governor: &Reading| {
        root.read(&governor.source.replace("scaling_governor", "energy_performance_preference"))
    };
    // Drivers that leave the choice to the processor go by the preference.
    let is_slow = |governor: &&Reading| {
        governor.known() != Some("performance")
            && preference(governor).known() != Some("performance")
    };
    let mut slow: BTreeMap<&str, Vec<&Reading>> = BTreeMap::new();
    for governor in governors.iter().filter(is_slow) {
        slow.entry(governor.known().unwrap_or_default()).or_default().push(governor);
    }
    for (old, alike) in slow {
        let title = format!("the governor of {} processors is {old}", alike.len());
        let are_all = alike.len() == governors.len();
        let files: Vec<&str> = match are_all {
            true => vec!["/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"],
            false => alike.iter().map(|governor| governor.source.as_str()).collect(),
        };
        let files = files.join(" ");
        let finding = Finding::new("governor", Severity::Warning, title)
            .read(alike[0])
            .read(&driver)
            .read(&preference(alike[0]))
            .why(
                "A thread that waits for the device leaves its processor idle; the governor lowers \
                 the frequency, and the thread wakes up on a slow processor.",
            )
            .change(
                format!("echo performance | tee {files}"),
                "more power and heat; where cooling is short, less of the highest frequency",
                format!("echo {old} | tee {files}"),
            )
            .advise("to keep it: tuned-adm profile latency-performance, or cpupower.service");
        report.find(finding);
    }
}

fn idle(root: &Root, floor: Option<&Floor>, report: &mut Report) {
    let driver = root.read(&format!("{CPU}/cpuidle/current_driver"));
    report.facts.read(Group::Processor, "idle driver", &driver);
    let folder = format!("{CPU}/cpu0/cpuidle");
    let read = |state: &str, name: &str| root.read(&format!("{folder}/{state}/{name}"));
    let states = root.list(&folder).into_iter().filter(|name| name.starts_with("state"));
    let (disabled, enabled): (Vec<_>, Vec<_>) =
        states.partition(|state| read(state, "disable").number() == Some(1));
    let deepest = enabled.into_iter().max_by_key(|state| read(state, "latency").number());
    let Some(state) = deepest else {
        let why = "the kernel chooses no idle states here, as in most virtual machines".to_owned();
        report.facts.add(Group::Processor, "deepest idle state", &folder, Err(why));
        return;
    };
    let (name, latency) = (read(&state, "name"), read(&state, "latency"));
    let Some(us) = latency.number() else { return };
    let shown = format!("{}, {us} us to leave", name.known().unwrap_or(&state));
    report.facts.add(Group::Processor, "deepest idle state", &latency.source, Ok(shown));
    if us <= IDLE_US_MAX {
        return;
    }
    let wake = floor.and_then(|floor| floor.wake).map(|times| times.p50_ns as f64 / 1000.0);
    let at_most = wake.unwrap_or(us as f64).min(us as f64);
    let title = format!("idle processors may take {us} us to wake up");
    let finding = Finding::new("idle-states", Severity::Warning, title)
        .read(&latency)
        .read(&name)
        .why(
            "While a commit waits for the device its processor may fall asleep; the deeper, the \
             later the thread runs again.",
        )
        .change(
            format!("cpupower idle-set --disable-by-latency {IDLE_US_MAX}"),
            match disabled.is_empty() {
                true => "more power and heat; others may lose their highest frequency",
                false => "more power and heat; undo enables states that are disabled now, too",
            },
            "cpupower idle-set --enable-all",
        )
        .advise("to keep it: tuned-adm profile latency-performance")
        .costs(Some(Cost::AtMost { us: at_most, of: "wake-up" }));
    report.find(finding);
}

fn clock(root: &Root, floor: Option<&Floor>, report: &mut Report) {
    let clock = root.read(&format!("{CLOCK}/current_clocksource"));
    let available = root.read(&format!("{CLOCK}/available_clocksource"));
    report.facts.read(Group::Processor, "clock", &clock);
    let Some(name) = clock.known().filter(|name| !FAST_CLOCKS.contains(name)) else { return };
    let us = floor.map(|floor| floor.clock_ns / 1000.0);
    if us.is_some_and(|us| us < CLOCK_US_MIN) {
        return;
    }
    let offered = available.known().unwrap_or_default().split_ascii_whitespace();
    let faster = offered.into_iter().find(|offer| FAST_CLOCKS.contains(offer));
    let mut finding = Finding::new("clock-slow", Severity::Warning, format!("the clock is {name}"))
        .read(&clock)
        .read(&available)
        .why("Reading this clock asks the hardware or the kernel, several times for each commit.")
        .costs(us.map(|us| Cost::Measured { us, of: "reading" }));
    match faster {
        Some(faster) => {
            finding = finding.change(
                format!("echo {faster} > {}", clock.source),
                format!("the kernel may have left {faster} because it does not run evenly: dmesg"),
                format!("echo {name} > {}", clock.source),
            );
        }
        None => {
            finding = finding.advise(
                "no faster clock is offered: see in dmesg why the kernel marked tsc as unstable",
            );
        }
    }
    report.find(finding);
}

fn steal(root: &Root, report: &mut Report) {
    let stat = root.read("/proc/stat");
    let line = stat.known().and_then(|text| text.lines().next()?.strip_prefix("cpu "));
    let ticks: Vec<u64> = line
        .map(|line| line.split_ascii_whitespace().map_while(|tick| tick.parse().ok()).collect())
        .unwrap_or_default();
    // user nice system idle iowait irq softirq steal; time of guests is within user's.
    let [_, _, _, _, _, _, _, stolen, ..] = ticks[..] else {
        report.facts.read(Group::Processor, "stolen time", &stat.part(None));
        return;
    };
    let total: u64 = ticks[..8].iter().fold(0, |sum: u64, tick| sum.saturating_add(*tick));
    let share = stolen as f64 / total.max(1) as f64;
    let shown = format!("{:.1} % since boot", share * 100.0);
    report.facts.add(Group::Processor, "stolen time", &stat.source, Ok(shown.clone()));
    if share > STEAL_MAX {
        let title = format!("the hypervisor gave {:.1} % of the time to others", share * 100.0);
        let finding = Finding::new("steal", Severity::Warning, title)
            .saw(&stat.source, format!("steal: {stolen} of {total} ticks"))
            .why(
                "A virtual processor that has to wait for its turn delays whatever runs on it, by \
                 milliseconds at a time: the highest percentiles suffer.",
            )
            .advise("a kind of machine with processors of its own, or a host with fewer guests");
        report.find(finding);
    }
}

/// What control groups let this process have of the processors: the first that limits it, from its
/// own upward, or else its own.
fn quota(root: &Root, report: &mut Report) {
    let groups = root.own("cgroup");
    let lines = groups.known().unwrap_or_default().lines();
    let mut quotas = lines
        .flat_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next().unwrap_or_default(), parts.next());
            let (bases, file): (&[&str], _) = match controllers {
                "" => (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], "cpu.max"),
                _ if controllers.split(',').any(|name| name == "cpu") => {
                    (&["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"], "cpu.cfs_quota_us")
                }
                _ => (&[], ""),
            };
            let ancestors = Path::new(path.unwrap_or_default()).ancestors();
            let folders = ancestors.filter_map(|group| Some(group.to_str()?.trim_end_matches('/')));
            let folders: Vec<&str> = folders.collect();
            bases
                .iter()
                .flat_map(|base| {
                    folders
                        .iter()
                        .map(|folder| root.read(&format!("{base}{folder}/{file}")))
                        .collect::<Vec<_>>()
                })
                .collect::<Vec<_>>()
        })
        .filter(|quota| quota.known().is_some());
    let is_limit = |quota: &Reading| {
        quota.known().is_some_and(|text| !text.starts_with("max") && !text.starts_with("-1"))
    };
    let first = quotas.next();
    let limit = first.iter().cloned().chain(quotas).find(is_limit);
    let Some(quota) = limit.clone().or(first) else {
        let why = "no control group of this process says".to_owned();
        report.facts.add(Group::Processor, "processor quota", &groups.source, Err(why));
        return;
    };
    report.facts.read(Group::Processor, "processor quota", &quota);
    if limit.is_none() {
        return;
    }
    let folder = quota.source.rsplit_once('/').map_or("", |(folder, _)| folder);
    let statistics = root.read(&format!("{folder}/cpu.stat"));
    let throttled = statistics.field("nr_throttled").unwrap_or("unknown");
    let severity = if throttled == "0" { Severity::Note } else { Severity::Warning };
    let finding = Finding::new("cpu-quota", severity, "processor time has a quota")
        .read(&quota)
        .saw(&statistics.source, format!("nr_throttled: {throttled}"))
        .why(
            "When the quota of a period (usually 100 ms) is used up, all threads stop until the \
             next: a commit may wait that long.",
        )
        .advise("raise the quota, or give the container whole processors instead (cpuset)");
    report.find(finding);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_measured_bounds_what_the_kernel_says() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(&format!("{CPU}/cpu0/cpuidle/state1/latency"), "133");
        write(&format!("{CLOCK}/current_clocksource"), "hpet");
        let root = Root::new(dir.path(), None);
        let found = |floor: &Floor| {
            let mut report = Report::default();
            look(&root, Some(floor), &mut report);
            report.findings.iter().map(|finding| (finding.id, finding.cost)).collect::<Vec<_>>()
        };
        let idle = |us| ("idle-states", Cost::AtMost { us, of: "wake-up" });
        let clock = ("clock-slow", Cost::Measured { us: 1.5, of: "reading" });
        let medians = [90, 80, 30, 150, 70];
        assert_eq!(found(&Floor::sample(medians, 40, 1500.0)), [idle(40.0), clock]);
        // Waking up contains more than leaving the state; a clock that is fast is fast.
        assert_eq!(found(&Floor::sample(medians, 400, 30.0)), [idle(133.0)]);
    }
}
