//! Waiting until something is true.
//!
//! Does:      reads the state again and again (level-triggered): nothing is missed, and things that
//!            do not exist yet or nodes that do not answer yet may still come.
//! Does not:  wait for what can't happen any more: a failed VM ends a wait for `running`.
//! Bounds:    the caller's timeout; one request per `PAUSE_MAX` at the end.
//! Trusts:    the node for what it says of itself; silence is never taken for an answer.
//! Start at:  `wait_for_vm`.

use crate::{client::Client, render::age};
use protocol::{Code, Node, NodeState, Problem, Selector, Vm, VmState, limits};
use std::{
    fmt,
    str::FromStr,
    time::{Duration, Instant},
};

const PAUSE_MIN: Duration = Duration::from_millis(40);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Bytes of a text that a console may be searched for.
const TEXT_BYTES_MAX: usize = 256;

/// What should become true of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Running,
    Stopped,
    Failed,
    Deleted,
    /// Its console holds this text.
    Console(String),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Stopped => f.write_str("stopped"),
            Self::Failed => f.write_str("failed"),
            Self::Deleted => f.write_str("deleted"),
            Self::Console(text) => write!(f, "console~{text}"),
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "running" => Ok(Self::Running),
            "stopped" => Ok(Self::Stopped),
            "failed" => Ok(Self::Failed),
            "deleted" => Ok(Self::Deleted),
            _ => match text.strip_prefix("console~") {
                Some(wanted) if (1..=TEXT_BYTES_MAX).contains(&wanted.len()) => {
                    Ok(Self::Console(wanted.to_owned()))
                }
                Some(_) => Err(format!(
                    "console~ needs a text of 1 to {TEXT_BYTES_MAX} bytes"
                )),
                None => Err("write running, stopped, failed, deleted or console~TEXT".to_owned()),
            },
        }
    }
}

/// `500ms`, `30s`, `5m`, `2h`; a plain number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let ms = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a number and ms, s, m or h: for example 30s".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write for example 30s".to_owned())?;
    number
        .checked_mul(ms)
        .map(Duration::from_millis)
        .ok_or_else(|| "that is too long".to_owned())
}

/// A deadline, and how often to look until then.
#[derive(Debug)]
pub struct Patience {
    until: Option<Instant>,
    given: Duration,
    pause: Duration,
}

impl Patience {
    pub fn new(given: Duration) -> Self {
        Self {
            until: Instant::now().checked_add(given),
            given,
            pause: PAUSE_MIN,
        }
    }

    /// What is left; zero if nothing is.
    pub fn left(&self) -> Duration {
        self.until.map_or(Duration::MAX, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Waits a little, longer each time. `false` if the time is over.
    fn pause(&mut self) -> bool {
        let left = self.left();
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(self.pause.min(left));
        self.pause = (self.pause * 3 / 2).min(PAUSE_MAX);
        true
    }

    pub(crate) fn over(&self, wanted: &str, last: &str) -> Problem {
        let given = u64::try_from(self.given.as_millis()).unwrap_or(u64::MAX);
        let given = if given < 1000 {
            format!("{given} ms")
        } else {
            age(given)
        };
        Problem::new(
            Code::TimedOut,
            format!("Waited {given} for {wanted}; the last that was seen: {last}"),
            "Give more time with --timeout, or look why: luc vm show, luc vm log",
        )
        .with_lost("What was asked goes on; only the waiting ended.")
    }
}

/// Whether a condition is met.
enum Verdict {
    Met,
    NotYet,
    /// It can't become true by itself any more.
    Never,
}

fn judge(vm: &Vm, condition: &Condition, log: &[u8]) -> Verdict {
    let at_rest = matches!(vm.state, VmState::Stopped | VmState::Failed | VmState::Lost);
    let met = match condition {
        Condition::Running => vm.state == VmState::Running,
        Condition::Stopped => vm.state == VmState::Stopped,
        Condition::Failed => vm.state == VmState::Failed,
        Condition::Deleted => false,
        Condition::Console(text) => log.windows(text.len()).any(|part| part == text.as_bytes()),
    };
    match condition {
        _ if met => Verdict::Met,
        Condition::Deleted => Verdict::NotYet,
        Condition::Stopped if vm.state == VmState::Failed => Verdict::Never,
        Condition::Failed if vm.state == VmState::Stopped => Verdict::NotYet,
        Condition::Running if matches!(vm.state, VmState::Failed | VmState::Lost) => Verdict::Never,
        Condition::Stopped | Condition::Failed if vm.state == VmState::Lost => Verdict::Never,
        Condition::Console(_) if at_rest || vm.state == VmState::Deleting => Verdict::Never,
        _ => Verdict::NotYet,
    }
}

/// Waits for a VM. `tell` hears each change. `None` if it is gone and should be.
pub fn wait_for_vm(
    client: &Client,
    vm: &Selector,
    condition: &Condition,
    timeout: Duration,
    tell: impl FnMut(&str),
) -> Result<Option<Vm>, Problem> {
    wait_for_vm_unless(client, vm, condition, timeout, |_| false, tell)
}

/// The same, but also ends with a VM of which `unless` holds.
pub(crate) fn wait_for_vm_unless(
    client: &Client,
    vm: &Selector,
    condition: &Condition,
    timeout: Duration,
    unless: impl Fn(&Vm) -> bool,
    mut tell: impl FnMut(&str),
) -> Result<Option<Vm>, Problem> {
    let mut patience = Patience::new(timeout);
    let mut selector = vm.clone();
    let mut last = String::new();
    loop {
        let now = match look(client, &selector, condition) {
            Ok((found, log)) => {
                match judge(&found, condition, &log) {
                    Verdict::Met => return Ok(Some(found)),
                    _ if unless(&found) => return Ok(Some(found)),
                    Verdict::Never => return Err(never(&found, condition)),
                    Verdict::NotYet => {}
                }
                // From now on this very VM, not another that takes its name.
                selector = found.id.into();
                told(&found)
            }
            Err(problem) if problem.code == Code::NotFound => {
                if *condition == Condition::Deleted {
                    return Ok(None);
                }
                format!("there is no VM `{vm}` yet")
            }
            Err(problem) if may_pass(problem.code) => problem.detail,
            Err(problem) => return Err(problem),
        };
        if now != last {
            tell(&now);
            last = now;
        }
        if !patience.pause() {
            return Err(patience.over(&format!("VM `{vm}` to be {condition}"), &last));
        }
    }
}

fn look(
    client: &Client,
    selector: &Selector,
    condition: &Condition,
) -> Result<(Vm, Vec<u8>), Problem> {
    let vm = client.show_vm(selector)?;
    let log = match condition {
        Condition::Console(_) => client.console_log(&vm.id.into())?,
        _ => Vec::new(),
    };
    Ok((vm, log))
}

/// Problems that time may solve.
fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unreachable | Code::HostSilent | Code::Busy | Code::GoingDown | Code::Internal
    )
}

pub(crate) fn told(vm: &Vm) -> String {
    match &vm.reason {
        Some(reason) => format!("VM `{}` is {}: {}", vm.name, vm.state, reason),
        None => format!("VM `{}` is {}", vm.name, vm.state),
    }
}

fn never(vm: &Vm, condition: &Condition) -> Problem {
    let name = &vm.name;
    let advice = match vm.state {
        VmState::Failed => {
            format!("See what it said: luc vm log {name}; again: luc vm start {name}")
        }
        _ => format!("See what it said: luc vm log {name}"),
    };
    let said = limits::shortened(&told(vm), limits::REASON_CHARS_MAX);
    Problem::new(
        Code::NotReached,
        format!("{said}; it will not be {condition}"),
        advice,
    )
    .with_lost("Its console's last lines are kept until it is deleted.")
}

/// Waits until the node answers and takes work.
pub fn wait_for_node(
    client: &Client,
    timeout: Duration,
    tell: impl FnMut(&str),
) -> Result<Node, Problem> {
    watch_node(client, timeout, "to be ready", tell, |seen| match seen {
        Ok(node) if node.state == NodeState::Ready => Some(node.clone()),
        _ => None,
    })
}

/// Waits until the node is ready in a boot that began after `asked`.
pub fn wait_for_reboot(
    client: &Client,
    asked: Instant,
    timeout: Duration,
    tell: impl FnMut(&str),
) -> Result<Node, Problem> {
    watch_node(
        client,
        timeout,
        "to be ready again",
        tell,
        |seen| match seen {
            Ok(node) if node.state == NodeState::Ready => {
                let fresh = Duration::from_millis(node.uptime_ms) <= asked.elapsed();
                fresh.then(|| node.clone())
            }
            _ => None,
        },
    )
}

/// Waits until the node answers no more.
pub fn wait_for_silence(
    client: &Client,
    timeout: Duration,
    tell: impl FnMut(&str),
) -> Result<(), Problem> {
    watch_node(client, timeout, "to be off", tell, |seen| match seen {
        Err(problem) if matches!(problem.code, Code::Unreachable | Code::HostSilent) => Some(()),
        _ => None,
    })
}

/// Looks at the node until `met` finds what it wants.
fn watch_node<T>(
    client: &Client,
    timeout: Duration,
    wanted: &str,
    mut tell: impl FnMut(&str),
    met: impl Fn(&Result<Node, Problem>) -> Option<T>,
) -> Result<T, Problem> {
    let mut patience = Patience::new(timeout);
    let mut last = String::new();
    loop {
        let seen = client.show_node();
        if let Some(found) = met(&seen) {
            return Ok(found);
        }
        let now = match seen {
            Ok(node) => {
                let reason = node
                    .reason
                    .map_or(String::new(), |reason| format!(": {reason}"));
                format!("node {} is {}{reason}", node.name, node.state)
            }
            Err(problem) if may_pass(problem.code) => problem.detail,
            Err(problem) => return Err(problem),
        };
        if now != last {
            tell(&now);
            last = now;
        }
        if !patience.pause() {
            return Err(patience.over(&format!("node {} {wanted}", client.node()), &last));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("30", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms));
        }
        for wrong in [
            "",
            "s",
            "1d",
            "-1s",
            "1.5s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn conditions_read_back() {
        for text in ["running", "stopped", "failed", "deleted", "console~login: "] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
        for wrong in ["", "runing", "console~", "console", "Running"] {
            assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_a_parser(text: String) {
            drop(parse_duration(&text));
            if let Ok(condition) = text.parse::<Condition>() {
                assert_eq!(condition.to_string(), text);
            }
        }
    }
}
