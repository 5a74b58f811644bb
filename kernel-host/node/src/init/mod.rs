//! PID 1: brings the machine up, keeps the node process alive, brings the machine down.
//!
//! Does:      mounts, settings, clock, devices, watchdog, consoles, supervision, reaping, power.
//! Does not:  network, API or VMs; the node process does. No shell, no login, no other program.
//! Bounds:    one supervised process; every wait has a limit; no growth after boot.
//! Trusts:    the kernel and the image.
//! Start at:  `run`, then `Init::turn`.

mod backoff;
mod ending;
mod hardware;
pub(crate) mod image;
mod journal;
pub mod last_words;
mod status_page;
mod supervisor;

use crate::arguments::Arguments;
use crate::supervision::{End, State, Status, ToInit, ToNode, Welcome};
use hardware::{Hardware, News};
use image::Image;
use journal::Journal;
use std::io;
use std::time::Duration;
use supervisor::Supervisor;
use sys::buttons::Button;
use sys::cgroups::{Group, Limits};
use sys::clock::uptime_ms;
use sys::consoles::{Consoles, Kind};
use sys::poller::Poller;
use sys::signals::{Signal, Signals};
use sys::watchdog::Watchdog;

/// Seconds from a kernel panic to the reboot, where the command line doesn't say.
const PANIC_REBOOT_S: u32 = 10;
/// The consoles show the kernel's errors, not its chatter: that is what the log is for.
const KERNEL_LEVEL: u8 = 4;
/// How often the watchdog is fed and the page's clock redrawn.
const ROUND_MS: u64 = 10_000;
/// The page is painted at most this often.
const PAINT_PAUSE_MS: u64 = 250;
/// Processes of all VMs together, so that none can eat the process table.
const VM_PROCESSES_MAX: u32 = 4096;

const SIGNALS: u64 = 0;
const UEVENTS: u64 = 1;
const LOADER: u64 = 2;
const NODE: u64 = 3;
const BUTTONS: u64 = 100;

/// Everything PID 1 holds.
#[derive(Debug)]
struct Init {
    poller: Poller,
    signals: Signals,
    consoles: Consoles,
    journal: Journal,
    machine: status_page::Machine,
    status: Status,
    hardware: Option<Hardware>,
    buttons: Vec<Button>,
    supervisor: Supervisor,
    node_group: Group,
    vm_group: Group,
    watchdog: Option<Watchdog>,
    ending: Option<ending::Ending>,
    fed_ms: u64,
    painted_ms: u64,
    page_stale: bool,
}

/// PID 1's whole life. Does not return: its end is the machine's.
///
/// # Panics
/// When the kernel lacks something no node can do without; the hook tells, the machine reboots.
pub fn run() -> ! {
    last_words::install_for_init();
    let mut init = bring_up().unwrap_or_else(|error| panic!("{}", chain(&*error)));
    loop {
        if let Err(error) = init.turn() {
            panic!("event loop: {error}");
        }
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// The steps up to the event loop, in the order that each needs the ones before.
fn bring_up() -> Result<Init, AnyError> {
    let missing_mounts = sys::mounts::mount_all()?;
    let refused_settings = sys::sysctl::set_all();
    let signals = Signals::block()?;
    sys::sysctl::reboot_after_panic(PANIC_REBOOT_S)?;
    sys::kernel_log::limit_consoles(KERNEL_LEVEL)?;
    let image = Image::read(image::PATH);
    let (node_group, vm_group) = make_groups()?;
    let mut init = Init {
        poller: Poller::new()?,
        signals,
        consoles: Consoles::open(),
        journal: Journal::default(),
        machine: describe_machine(&image),
        status: Status {
            waits_for: Some("devices".into()),
            ..Status::default()
        },
        hardware: None,
        buttons: Vec::new(),
        supervisor: Supervisor::default(),
        node_group,
        vm_group,
        watchdog: None,
        ending: None,
        fed_ms: 0,
        painted_ms: 0,
        page_stale: true,
    };
    init.poller.watch(&init.signals, SIGNALS)?;
    let title = format!("LUC OS {} on kernel {}", image.version, init.machine.kernel);
    init.stage("init", &title);
    init.repaint();
    let mounts = missing_mounts.iter().map(|error| chain(error));
    for warning in mounts.chain(refused_settings.iter().map(|error| chain(error))) {
        init.warn(&warning);
    }
    init.set_clock(&image);
    for warning in Arguments::read().warnings {
        init.warn(&warning);
    }
    init.discover();
    init.start_node();
    // Not needed before somebody presses it.
    if let Err(error) = sys::power::catch_ctrl_alt_del() {
        init.warn(&format!("ctrl-alt-del stays with the kernel: {error}"));
    }
    Ok(init)
}

fn make_groups() -> Result<(Group, Group), AnyError> {
    sys::cgroups::delegate_root()?;
    let node = Group::create(None, "node", Limits::default())?;
    let limits = Limits {
        processes_max: Some(VM_PROCESSES_MAX),
        ..Limits::default()
    };
    let vms = Group::create(None, "vms", limits)?;
    vms.delegate()?;
    Ok((node, vms))
}

fn describe_machine(image: &Image) -> status_page::Machine {
    let dmi = sys::dmi::Machine::read();
    let memory = sys::usage::memory().unwrap_or_default().total_bytes >> 20;
    let serial = if dmi.serial.is_empty() {
        String::new()
    } else {
        format!(" {}", dmi.serial)
    };
    status_page::Machine {
        version: image.version.clone(),
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        product: format!("{} {}{serial}", dmi.maker, dmi.product)
            .trim()
            .to_owned(),
        memory: match sys::usage::processors() {
            1 => format!("1 processor, {memory} MiB"),
            many => format!("{many} processors, {memory} MiB"),
        },
        watchdog: "not armed yet".to_owned(),
    }
}

/// An error and its sources in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl Init {
    /// One round of the event loop.
    fn turn(&mut self) -> io::Result<()> {
        let ready = self.poller.wait(Some(self.time_to_next()))?;
        for number in ready {
            match number {
                SIGNALS => self.take_signals(),
                UEVENTS | LOADER => self.take_hardware()?,
                NODE => self.take_node(),
                button => self.take_button(button),
            }
        }
        let now_ms = uptime_ms();
        if let Some(text) = self.supervisor.end_silence(now_ms) {
            self.line("error", &text);
        }
        if self.ending.is_none() && self.supervisor.start_is_due(now_ms) {
            self.start_node();
        }
        self.feed_watchdog(now_ms);
        self.continue_ending(now_ms);
        if self.page_stale && now_ms >= self.painted_ms + PAINT_PAUSE_MS {
            self.repaint();
        }
        Ok(())
    }

    fn time_to_next(&self) -> Duration {
        let now_ms = uptime_ms();
        let paint = (self.page_stale && self.consoles.have_screen())
            .then_some(self.painted_ms + PAINT_PAUSE_MS);
        let ending = self.ending.as_ref().map(ending::Ending::next_timeout_ms);
        let supervisor = self.supervisor.next_timeout_ms();
        let next = [paint, ending, supervisor].into_iter().flatten().min();
        let at_ms = next.map_or(self.fed_ms + ROUND_MS, |at_ms| {
            at_ms.min(self.fed_ms + ROUND_MS)
        });
        Duration::from_millis(at_ms.saturating_sub(now_ms))
    }

    fn set_clock(&mut self, image: &Image) {
        match sys::clock::raise_to_floor(image.clock_floor_s()) {
            Ok(None) => {}
            Ok(Some(raised)) => self.warn(&format!(
                "the clock said {} s since 1970: set to the image's time; check its battery",
                raised.from_s
            )),
            Err(error) => self.warn(&format!("the clock is wrong and can't be set: {error}")),
        }
    }

    fn discover(&mut self) {
        let hardware = match Hardware::discover() {
            Ok(hardware) => hardware,
            Err(error) => {
                self.warn(&format!("no modules are loaded: {}", chain(&*error)));
                self.stage("devices", "only what the kernel has built in");
                return;
            }
        };
        let watched = self
            .poller
            .watch(&hardware.uevents, UEVENTS)
            .and_then(|()| self.poller.watch(&hardware.loader, LOADER));
        if let Err(error) = watched {
            self.warn(&format!("late devices are not seen: {error}"));
        }
        self.hardware = Some(hardware);
    }

    fn take_hardware(&mut self) -> io::Result<()> {
        let Some(hardware) = &mut self.hardware else {
            return Ok(());
        };
        let news = hardware.look()?;
        let loaded = hardware.loaded();
        self.tell_news(&news, loaded);
        if news.input_changed || news.settled {
            self.find_buttons();
        }
        Ok(())
    }

    fn tell_news(&mut self, news: &News, loaded: usize) {
        for error in &news.failed {
            let quiet =
                error.source.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
            // "No such device" is the answer of a driver that looked and found nothing to do.
            if !quiet {
                self.warn(&chain(error));
            }
        }
        if news.urgent_done {
            self.stage(
                "devices",
                &format!("{loaded} modules loaded, network drivers are ready"),
            );
        }
        if news.settled {
            self.line(
                "modules",
                &format!("{loaded} loaded, all devices are served"),
            );
            self.supervisor.tell(&ToNode::DevicesSettled);
            self.arm_watchdog();
        }
    }

    fn find_buttons(&mut self) {
        for button in sys::buttons::find(&self.buttons) {
            let number = BUTTONS + self.buttons.len() as u64;
            match self.poller.watch(&button, number) {
                Ok(()) => self.buttons.push(button),
                Err(error) => self.warn(&format!("power button {}: {error}", button.name)),
            }
        }
    }

    fn take_button(&mut self, number: u64) {
        let index = usize::try_from(number - BUTTONS).unwrap_or(usize::MAX);
        let Some(button) = self.buttons.get_mut(index) else {
            return;
        };
        match button.pressed() {
            Ok(true) => self.end(End::PowerOff, "power button"),
            Ok(false) => {}
            // Unplugged. Its place stays, so that the numbers of the others do.
            Err(_) => {
                let _ = self.poller.forget(&self.buttons[index]);
            }
        }
    }

    fn arm_watchdog(&mut self) {
        match Watchdog::open() {
            Ok(Some(watchdog)) => {
                let timeout = watchdog
                    .timeout_s()
                    .map_or("fixed time".to_owned(), |s| format!("{s} s"));
                self.machine.watchdog = format!("{}, {timeout}", watchdog.name());
                self.watchdog = Some(watchdog);
            }
            Ok(None) => "none".clone_into(&mut self.machine.watchdog),
            Err(error) => {
                "failed".clone_into(&mut self.machine.watchdog);
                self.warn(&format!("the watchdog can't be armed: {error}"));
            }
        }
    }

    fn feed_watchdog(&mut self, now_ms: u64) {
        if now_ms < self.fed_ms + ROUND_MS {
            return;
        }
        self.fed_ms = now_ms;
        self.page_stale = true;
        if self.supervisor.is_well(now_ms)
            && let Some(Err(error)) = self.watchdog.as_mut().map(Watchdog::feed)
        {
            self.warn(&format!("the watchdog can't be fed: {error}"));
        }
    }

    fn start_node(&mut self) {
        let welcome = Welcome {
            timeline: self.journal.marks().to_vec(),
            settled: self.hardware.as_ref().is_none_or(Hardware::settled),
            ..Welcome::default()
        };
        if let Err(error) = self
            .supervisor
            .start(uptime_ms(), &self.node_group, welcome)
        {
            self.line(
                "error",
                &format!("the node process can't be started: {error}"),
            );
            return;
        }
        if let Some(Err(error)) = self
            .supervisor
            .socket()
            .map(|fd| self.poller.watch(fd, NODE))
        {
            self.line(
                "error",
                &format!("the node process can't be heard: {error}"),
            );
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Child => self.reap(),
                Signal::Terminate | Signal::Power => self.end(End::PowerOff, "signal"),
                Signal::Interrupt => self.end(End::Reboot, "ctrl-alt-del"),
            }
        }
    }

    fn reap(&mut self) {
        while let Some((pid, exit)) = sys::processes::reap() {
            if !self.supervisor.is(pid) {
                continue;
            }
            // Its last words may still be in the socket.
            self.take_node();
            let text = self.supervisor.ended(uptime_ms(), exit);
            // The new process knows nothing of the old one's VMs: no orphan may hold memory.
            self.vm_group.clear();
            if self.ending.is_none() {
                self.status.state = State::Degraded;
                self.line("error", &text);
            }
        }
    }

    fn take_node(&mut self) {
        for message in self.supervisor.hear(uptime_ms()) {
            match message {
                ToInit::Heartbeat | ToInit::Panicked(_) => {}
                ToInit::Status(status) => {
                    self.status = status;
                    self.page_stale = true;
                }
                ToInit::Stage { stage, text } => self.stage(&stage, &text),
                ToInit::Line { stage, text } => self.line(&stage, &text),
                ToInit::Wish(how) => self.end(how, "request over the API"),
                ToInit::Stopped => self.node_stopped(),
            }
        }
    }

    fn stage(&mut self, stage: &str, text: &str) {
        let line = self.journal.stage(uptime_ms(), stage, text);
        self.consoles.write_line(&line);
        self.supervisor
            .tell(&ToNode::Timeline(self.journal.marks().to_vec()));
        self.page_stale = true;
    }

    fn line(&mut self, stage: &str, text: &str) {
        let line = self.journal.line(uptime_ms(), stage, text);
        self.consoles.write_line(&line);
        self.page_stale = true;
    }

    fn warn(&mut self, text: &str) {
        self.line("warning", text);
    }

    fn repaint(&mut self) {
        self.page_stale = false;
        self.painted_ms = uptime_ms();
        if self.consoles.have_screen() {
            let page =
                status_page::render(self.painted_ms, &self.machine, &self.status, &self.journal);
            self.consoles
                .write(Kind::Screen, &status_page::paint(&page, self.status.state));
        }
    }
}
