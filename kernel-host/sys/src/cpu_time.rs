//! Processor time: of the machine, of groups, of processes and of their threads.
//!
//! Does:      parses what procfs, cgroup2 and sysfs say; reads this thread's and process's clock.
//! Does not:  compute differences or keep a history.
//! Bounds:    `THREADS_MAX` threads of one process.
//! Trusts:    the kernel for the form of its files; what does not fit is no value.
//! Start at:  `threads`.

use crate::sensors::Sensors;
use rustix::time::{ClockId, clock_gettime};

/// Threads of one process: 8 vCPUs, I/O, and room.
pub const THREADS_MAX: usize = 128;
/// Ticks of procfs: `USER_HZ` is 100 on every machine we run on.
const TICK_NS: u64 = 10_000_000;

/// What a thread has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadTime {
    pub thread: u32,
    /// When it began, in nanoseconds since the machine started, to a hundredth of a second.
    pub began_ns: u64,
    pub cpu_ns: u64,
    /// Where it ran last.
    pub processor: u16,
}

/// All threads of a process that are alive; an empty list when it is gone.
pub fn threads(sensors: &mut Sensors, pid: u32) -> Vec<ThreadTime> {
    let folder = format!("/proc/{pid}/task");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .take(THREADS_MAX)
        .filter_map(|thread| one_thread(sensors, &folder, thread))
        .collect()
}

fn one_thread(sensors: &mut Sensors, folder: &str, thread: u32) -> Option<ThreadTime> {
    let stat = sensors.read(&format!("{folder}/{thread}/stat")).ok()?;
    let stat = Stat::parse(std::str::from_utf8(stat).ok()?)?;
    // To the nanosecond; `stat` has hundredths of a second.
    let exact = sensors.read(&format!("{folder}/{thread}/schedstat")).ok();
    let exact = exact.and_then(|text| {
        std::str::from_utf8(text)
            .ok()?
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    Some(ThreadTime {
        thread,
        began_ns: stat.began_ns,
        cpu_ns: exact.unwrap_or(stat.cpu_ns),
        processor: stat.processor,
    })
}

/// Time of a process and all its threads, the ended ones too, and when it began.
pub fn process(sensors: &mut Sensors, pid: u32) -> Option<(u64, u64)> {
    let text = sensors.read(&format!("/proc/{pid}/stat")).ok()?;
    let stat = Stat::parse(std::str::from_utf8(text).ok()?)?;
    Some((stat.cpu_ns, stat.began_ns))
}

/// The fields of a `stat` that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    cpu_ns: u64,
    began_ns: u64,
    processor: u16,
}

impl Stat {
    /// A name may hold spaces and brackets: the fields begin behind the last one.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let ticks = |count: u64| count.saturating_mul(TICK_NS);
        Some(Self {
            cpu_ns: ticks(number(11)?.saturating_add(number(12)?)),
            began_ns: ticks(number(19)?),
            processor: u16::try_from(number(36)?).ok()?,
        })
    }
}

/// Time of all processes of a control group, the ended ones too.
pub fn group(sensors: &mut Sensors, folder: &str) -> Option<u64> {
    let text = sensors.read(&format!("{folder}/cpu.stat")).ok()?;
    usage_of_group(std::str::from_utf8(text).ok()?)
}

fn usage_of_group(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "))?;
    line.trim().parse::<u64>().ok()?.checked_mul(1000)
}

/// Busy time of all processors.
pub fn machine(sensors: &mut Sensors) -> Option<u64> {
    let text = sensors.read("/proc/stat").ok()?;
    // Only the first line is wanted, and it stands within the first page.
    busy(std::str::from_utf8(text.split(|byte| *byte == b'\n').next()?).ok()?)
}

/// `cpu user nice system idle iowait irq softirq ...`.
fn busy(line: &str) -> Option<u64> {
    let fields = line.strip_prefix("cpu ")?.split_whitespace();
    let fields: Vec<u64> = fields
        .take(7)
        .filter_map(|field| field.parse().ok())
        .collect();
    match fields[..] {
        [user, nice, system, _, _, irq, softirq] => {
            let ticks = [user, nice, system, irq, softirq];
            let ticks = ticks
                .iter()
                .fold(0_u64, |sum, ticks| sum.saturating_add(*ticks));
            Some(ticks.saturating_mul(TICK_NS))
        }
        _ => None,
    }
}

/// Time of this process.
#[must_use]
pub fn own_process_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

/// Time of this thread.
#[must_use]
pub fn own_thread_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The processor's name, and how many packages there are.
#[must_use]
pub fn model() -> (String, u32) {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let values = |key: &str| {
        let key = key.to_owned();
        text.lines().filter_map(move |line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    let name = values("model name").next().unwrap_or_default();
    let mut packages: Vec<String> = values("physical id").collect();
    packages.sort();
    packages.dedup();
    (name, u32::try_from(packages.len()).unwrap_or(1).max(1))
}

/// For each of so many processors the other half of its core.
#[must_use]
pub fn siblings(processors: u32) -> Vec<Option<u16>> {
    let other = |processor: u32| {
        let path = format!("/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list");
        let text = std::fs::read_to_string(path).ok()?;
        other_half(&text, processor)
    };
    (0..processors).map(other).collect()
}

/// `0,16` and `0-1`: the one that is not `processor`. Cores of more than two halves have none.
fn other_half(text: &str, processor: u32) -> Option<u16> {
    let text = text.trim();
    let (first, second) = text.split_once([',', '-'])?;
    let (first, second): (u32, u32) = (first.parse().ok()?, second.parse().ok()?);
    let other = match processor {
        of if of == first => second,
        of if of == second => first,
        _ => return None,
    };
    // `0-3` is four of them.
    let two = first < second && (text.contains(',') || second - first == 1);
    u16::try_from(other).ok().filter(|_| two)
}

/// What must hold for any text: nothing panics.
pub fn fuzz_cpu_time(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = Stat::parse(&text);
    let _ = usage_of_group(&text);
    let _ = busy(&text);
    if let Some(other) = other_half(&text, 3) {
        assert_ne!(other, 3, "a half is not its own other half");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LINE: &str = "4242 (vcpu 0) x) S 1 4242 4242 0 -1 4194624 100 0 0 0 1234 66 0 0 20 0 5 0 \
                        98765 1000 200 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 13 0 0 0";

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = Stat::parse(LINE).unwrap();
        assert_eq!(stat.cpu_ns, 1300 * TICK_NS);
        assert_eq!(stat.began_ns, 98_765 * TICK_NS);
        assert_eq!(stat.processor, 13);
        assert_eq!(Stat::parse("4242 (x) S 1 2"), None);
        assert_eq!(
            usage_of_group("usage_usec 1500\nuser_usec 1\n"),
            Some(1_500_000)
        );
        assert_eq!(usage_of_group("user_usec 1\n"), None);
        assert_eq!(busy("cpu  10 1 5 900 9 2 3 0 0 0"), Some(21 * TICK_NS));
        assert_eq!(busy("cpu0 1 1"), None);
    }

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn halves_of_cores_are_found_in_both_spellings() {
        for (text, of, other) in [
            ("0,16\n", 0, Some(16)), ("0,16\n", 16, Some(0)), ("2-3\n", 3, Some(2)),
            ("0\n", 0, None), ("0-3\n", 0, None), ("", 0, None), ("a,b", 0, None),
        ] {
            assert_eq!(other_half(text, of), other, "{text:?}");
        }
    }

    #[test]
    fn this_process_has_used_time_and_threads_say_so() {
        let mut sensors = Sensors::default();
        let mut sum = 0_u64;
        for round in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(round));
        }
        let threads = threads(&mut sensors, std::process::id());
        assert!(
            threads.iter().any(|thread| thread.cpu_ns > 0),
            "{threads:?}"
        );
        assert!(own_process_ns() >= own_thread_ns() && own_thread_ns() > 0);
        assert!(machine(&mut sensors).unwrap() > 0);
        assert!(process(&mut sensors, std::process::id()).is_some());
        assert!(super::threads(&mut sensors, u32::MAX).is_empty());
    }
}
