//! Finds the machine's devices and has their modules loaded.
//!
//! Does:      the coldplug walk, then uevents; network cards first; the watchdog's driver last.
//! Does not:  talk to any device.
//! Bounds:    those of `sys::devices`, `sys::uevents` and `sys::loader`.
//! Trusts:    the image's module table.
//! Start at:  `Hardware::discover`.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};
use sys::loader::{LoadError, Loader, Urgency, Wish};
use sys::modules::Table;
use sys::uevents::{Next, Uevents};

/// Where the image keeps its modules.
const FOLDER: &str = "/lib/luc/modules";
const TABLE: &str = "/lib/luc/modules.json";
/// Used when no watchdog chip was found.
const SOFT_WATCHDOG: &str = "softdog";

/// The state of discovery.
#[derive(Debug)]
pub struct Hardware {
    pub uevents: Uevents,
    pub loader: Loader,
    urgent_done: bool,
    settled: bool,
    soft_watchdog_asked: bool,
    loaded: usize,
}

/// What became known since the last look.
#[derive(Debug, Default)]
pub struct News {
    /// Now all network cards have their drivers.
    pub urgent_done: bool,
    /// Now everything has.
    pub settled: bool,
    pub failed: Vec<LoadError>,
    /// An input device may have come.
    pub input_changed: bool,
}

impl Hardware {
    /// Reads the table, listens for new devices, and asks for those that are there.
    ///
    /// # Errors
    /// When the table is missing or damaged: the node may still run on built-in drivers.
    pub fn discover() -> Result<Hardware, Box<dyn std::error::Error + Send + Sync>> {
        let table = Table::parse(&fs::read(TABLE)?)?;
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        if table.kernel() != release {
            let text = format!(
                "modules are for kernel {}, this is {release}",
                table.kernel()
            );
            return Err(text.into());
        }
        Ok(Hardware::over(table)?)
    }

    /// Discovery over a table; an empty one when the image has none.
    ///
    /// # Errors
    /// When the kernel refuses the event socket or a thread.
    pub fn over(table: Table) -> io::Result<Hardware> {
        let hardware = Hardware {
            uevents: Uevents::open()?,
            loader: Loader::start(Arc::new(table), Path::new(FOLDER))?,
            urgent_done: false,
            settled: false,
            soft_watchdog_asked: false,
            loaded: 0,
        };
        hardware.walk();
        Ok(hardware)
    }

    fn walk(&self) {
        let found = sys::devices::modaliases(Path::new("/sys"));
        let (urgent, other): (Vec<_>, Vec<_>) = found
            .modaliases
            .into_iter()
            .partition(|modalias| is_urgent(modalias));
        for modalias in urgent {
            self.loader.want(Urgency::Now, Wish::Device(modalias));
        }
        for modalias in other {
            self.loader.want(Urgency::Soon, Wish::Device(modalias));
        }
    }

    /// Takes what the loader did and what the kernel saw.
    ///
    /// # Errors
    /// When the event socket broke.
    pub fn look(&mut self) -> io::Result<News> {
        // The report first: loading brings devices, and one that came after the report must keep
        // "settled" from being said.
        let report = self.loader.report();
        self.loaded += report.loaded.len();
        let mut news = News {
            failed: report.failed,
            ..News::default()
        };
        let more = self.take_events(&mut news)?;
        news.urgent_done = report.urgent_done && !self.urgent_done;
        self.urgent_done |= report.urgent_done;
        if !report.all_done || more || self.settled {
            return Ok(news);
        }
        if !self.soft_watchdog_asked && !Path::new("/dev/watchdog0").exists() {
            self.soft_watchdog_asked = true;
            self.loader
                .want(Urgency::Soon, Wish::Module(SOFT_WATCHDOG.to_owned()));
            return Ok(news);
        }
        self.settled = true;
        news.settled = true;
        Ok(news)
    }

    /// Asks for the new devices' modules; true if there was one.
    fn take_events(&self, news: &mut News) -> io::Result<bool> {
        let mut more = false;
        loop {
            match self.uevents.next()? {
                Next::Empty => return Ok(more),
                Next::Overflow => {
                    more = true;
                    self.walk();
                }
                Next::Event(event) if event.action == "add" => {
                    news.input_changed |= event.subsystem == "input";
                    if let Some(modalias) = event.modalias {
                        let urgent = is_urgent(&modalias);
                        let urgency = if urgent { Urgency::Now } else { Urgency::Soon };
                        self.loader.want(urgency, Wish::Device(modalias));
                        more = true;
                    }
                }
                Next::Event(_) => {}
            }
        }
    }

    /// Modules loaded so far.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.loaded
    }

    #[must_use]
    pub fn settled(&self) -> bool {
        self.settled
    }
}

/// Network cards, and what they hang on: virtio's network device, PCI class 02, USB networks.
fn is_urgent(modalias: &str) -> bool {
    modalias.starts_with("virtio:d00000001v")
        || (modalias.starts_with("pci:") && modalias.contains("bc02sc"))
        || modalias.starts_with("pci:v00001AF4d00001000")
        || modalias.starts_with("pci:v00001AF4d00001041")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_cards_come_first() {
        for (modalias, urgent) in [
            ("virtio:d00000001v00001AF4", true),
            ("virtio:d00000002v00001AF4", false),
            (
                "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00",
                true,
            ),
            (
                "pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01",
                false,
            ),
            ("cpu:type:x86,ven0002", false),
        ] {
            assert_eq!(is_urgent(modalias), urgent, "{modalias}");
        }
    }
}
