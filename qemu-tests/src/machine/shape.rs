//! What a machine looks like, and the QEMU command line that makes it so.
//!
//! Does:      turns a `Shape` into arguments; one place for every QEMU option we use.
//! Does not:  start anything.
//! Bounds:    a handful of NICs and disks, as a `Shape` lists them.
//! Trusts:    the rig, which writes shapes.
//! Start at:  `Shape`, then `arguments`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where firmware files of Debian's packages lie.
pub const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// The variables that a machine gets its own copy of.
pub const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Which firmware runs first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// `SeaBIOS`, with the NIC's iPXE ROM.
    Bios,
    /// OVMF, without NIC ROMs: it boots by its own PXE client.
    Uefi,
}

/// What the machine boots from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// The network.
    Pxe,
    /// A USB stick with this image; writes are thrown away.
    Usb(PathBuf),
    /// A kernel that QEMU loads by itself.
    Direct {
        /// bzImage.
        kernel: PathBuf,
        /// cpio archive.
        initrd: PathBuf,
        /// Kernel arguments.
        cmdline: String,
    },
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// QEMU's name of the card.
    pub model: &'static str,
    /// Its address.
    pub mac: [u8; 6],
    /// The wire's port.
    pub socket: PathBuf,
}

/// A machine that can be switched on.
#[derive(Clone, Debug)]
pub struct Shape {
    /// For logs and people; also the name of its files.
    pub name: String,
    /// The first program.
    pub firmware: Firmware,
    /// Where the kernel comes from.
    pub boot: Boot,
    /// RAM.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u8,
    /// Cards, in PCI order.
    pub nics: Vec<Nic>,
    /// What the clock shows at power-on, as QEMU's `-rtc base=`; `None` is the host's time.
    pub clock: Option<&'static str>,
    /// Raw disk images, attached as virtio disks and written to.
    pub disks: Vec<PathBuf>,
    /// OEM strings of its SMBIOS (type 11): what an operator writes into a server's firmware.
    pub oem_strings: Vec<String>,
    /// How instructions are run; `None` is the run's own choice.
    pub accel: Option<Accel>,
}

impl Shape {
    /// A machine with one processor and 512 MiB, and without NICs.
    #[must_use]
    pub fn new(name: &str, firmware: Firmware, boot: Boot) -> Self {
        Self {
            name: name.to_owned(),
            firmware,
            boot,
            memory_mib: 512,
            cpus: 1,
            nics: Vec::new(),
            clock: None,
            disks: Vec::new(),
            oem_strings: Vec::new(),
            accel: None,
        }
    }

    /// The same with other memory.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// The same with other processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u8) -> Self {
        self.cpus = cpus;
        self
    }

    /// The same with a clock that starts elsewhere.
    #[must_use]
    pub fn clock(mut self, base: &'static str) -> Self {
        self.clock = Some(base);
        self
    }

    /// The same with one more OEM string in its SMBIOS.
    #[must_use]
    pub fn oem_string(mut self, text: &str) -> Self {
        self.oem_strings.push(text.to_owned());
        self
    }

    /// The same with one more disk, which keeps what is written to it.
    #[must_use]
    pub fn disk(mut self, image: &Path) -> Self {
        self.disks.push(image.to_owned());
        self
    }

    /// The same with one more virtio NIC.
    #[must_use]
    pub fn nic(mut self, mac: [u8; 6], socket: &Path) -> Self {
        self.nics.push(Nic {
            model: "virtio-net-pci",
            mac,
            socket: socket.to_owned(),
        });
        self
    }
}

/// How instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// QEMU's own translation, which emulates AMD's SVM for guests inside.
    Tcg,
    /// The host's KVM, proven by running a guest.
    Kvm,
}

/// Files of one run of a machine.
#[derive(Debug)]
pub struct Sockets<'a> {
    /// QMP: QEMU connects to it.
    pub qmp: &'a Path,
    /// The serial port: QEMU connects to it.
    pub serial: &'a Path,
    /// This machine's copy of the UEFI variables.
    pub uefi_vars: &'a Path,
}

/// QEMU's arguments for a shape.
#[must_use]
pub fn arguments(shape: &Shape, accel: Accel, sockets: &Sockets<'_>) -> Vec<OsString> {
    let mut line = Line::default();
    line.words(&[
        "-name",
        &shape.name,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
    ]);
    line.words(match accel {
        // Threads matter to machines with several processors only, which no scenario has: with
        // them, QEMU 7.2 now and then runs a breakpoint that another processor has patched away
        // (KVM's jump labels, at a guest's start); without them, nested guests stop for good.
        Accel::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max"],
        Accel::Kvm => &["-accel", "kvm", "-cpu", "host"],
    });
    // `q35` is what servers look like: PCIe, AHCI, and a reset that ACPI knows.
    line.words(&["-machine", "q35", "-boot", "strict=off"]);
    line.words(&[
        "-m",
        &shape.memory_mib.to_string(),
        "-smp",
        &shape.cpus.to_string(),
    ]);
    line.words(&["-device", "virtio-rng-pci"]);
    line.socket("qmp", sockets.qmp);
    line.words(&["-mon", "chardev=qmp,mode=control"]);
    line.socket("com1", sockets.serial);
    line.words(&["-serial", "chardev:com1"]);
    if let Some(base) = shape.clock {
        line.words(&["-rtc", &format!("base={base},clock=host")]);
    }
    if shape.firmware == Firmware::Uefi {
        line.words(&[
            "-drive",
            &format!("if=pflash,format=raw,readonly=on,file={OVMF_CODE}"),
        ]);
        line.drive("if=pflash,format=raw,file=", sockets.uefi_vars);
    }
    line.boot(&shape.boot);
    for (number, nic) in shape.nics.iter().enumerate() {
        line.nic(number, nic, shape);
    }
    for text in &shape.oem_strings {
        let value = text.replace(',', ",,"); // QEMU's own escape
        line.words(&["-smbios", &format!("type=11,value={value}")]);
    }
    for (number, disk) in shape.disks.iter().enumerate() {
        line.drive(&format!("id=disk{number},if=none,format=raw,file="), disk);
        line.words(&["-device", &format!("virtio-blk-pci,drive=disk{number}")]);
    }
    line.0
}

/// Prints a MAC address as everyone does.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    fn drive(&mut self, options: &str, file: &Path) {
        let mut value = OsString::from(options);
        value.push(file);
        self.0.extend([OsString::from("-drive"), value]);
    }

    /// A character device that connects to us, so that no path has to be waited for.
    fn socket(&mut self, id: &str, path: &Path) {
        let path = path.display();
        self.words(&[
            "-chardev",
            &format!("socket,id={id},path={path},server=off"),
        ]);
    }

    fn boot(&mut self, boot: &Boot) {
        match boot {
            Boot::Pxe => {}
            Boot::Usb(image) => {
                self.words(&["-device", "qemu-xhci,id=usb"]);
                // The image stays as it was built: writes go to a file that vanishes.
                self.drive("id=stick,if=none,format=raw,snapshot=on,file=", image);
                self.words(&["-device", "usb-storage,bus=usb.0,drive=stick,bootindex=1"]);
            }
            Boot::Direct {
                kernel,
                initrd,
                cmdline,
            } => {
                for (option, file) in [("-kernel", kernel), ("-initrd", initrd)] {
                    self.0
                        .extend([OsString::from(option), file.clone().into_os_string()]);
                }
                self.words(&["-append", cmdline]);
            }
        }
    }

    fn nic(&mut self, number: usize, nic: &Nic, shape: &Shape) {
        let path = nic.socket.display();
        self.words(&[
            "-netdev",
            &format!("stream,id=net{number},server=off,addr.type=unix,addr.path={path}"),
        ]);
        let mac = mac_text(nic.mac);
        let (model, from_net) = (nic.model, shape.boot == Boot::Pxe);
        let boot_index = if from_net {
            format!(",bootindex={}", number + 1)
        } else {
            String::new()
        };
        // Without a ROM, OVMF uses its own PXE client, and a machine that boots otherwise
        // doesn't wait for the network's.
        let rom = if from_net && shape.firmware == Firmware::Bios {
            ""
        } else {
            ",romfile="
        };
        self.words(&[
            "-device",
            &format!("{model},netdev=net{number},mac={mac}{boot_index}{rom}"),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::{Accel, Boot, Firmware, Shape, Sockets, arguments};
    use std::path::Path;

    fn line(shape: &Shape) -> String {
        let sockets = Sockets {
            qmp: Path::new("/s/qmp"),
            serial: Path::new("/s/com1"),
            uefi_vars: Path::new("/s/vars"),
        };
        let words = arguments(shape, Accel::Tcg, &sockets);
        words
            .iter()
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn only_a_bios_that_boots_from_the_network_keeps_the_nics_rom() {
        let mac = [2, 0, 0, 0, 0, 1];
        let cases = [
            (Firmware::Bios, Boot::Pxe, true),
            (Firmware::Uefi, Boot::Pxe, false),
            (Firmware::Uefi, Boot::Usb("/i".into()), false),
        ];
        for (firmware, boot, keeps_rom) in cases {
            let shape = Shape::new("m", firmware, boot).nic(mac, Path::new("/s/port"));
            assert_eq!(!line(&shape).contains("romfile="), keeps_rom, "{shape:?}");
        }
    }

    #[test]
    fn every_socket_is_one_that_qemu_connects_to() {
        let shape = Shape::new("m", Firmware::Bios, Boot::Pxe).nic([2; 6], Path::new("/s/port"));
        let line = line(&shape);
        assert_eq!(line.matches("server=off").count(), 3, "{line}");
        assert!(!line.contains("server=on"), "{line}");
    }
}
