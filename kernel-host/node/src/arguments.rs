//! What the operator told this machine: on the kernel's command line, or in its firmware.
//!
//! Does:      reads `luc.*`, `BOOTIF=` and `vlan=` of the command line, and the same `luc.*`
//!            words of the firmware's OEM strings, which win; says which of ours made no sense.
//! Does not:  take a secret from the command line: anyone on the boot network can read it.
//! Bounds:    `ARGUMENTS_MAX` words, `SEEDS_MAX` seeds; the kernel itself cuts the line at 2 KiB.
//! Trusts:    nothing: a wrong value is a warning and the default applies.
//! Start at:  `Arguments::parse`.

use protocol::Name;
use std::net::{Ipv4Addr, SocketAddr};
use sys::nics::parse_mac;

/// Words looked at; the rest are ignored.
const ARGUMENTS_MAX: usize = 256;
/// The longest name that is a DNS label.
const NAME_MAX: usize = 63;
/// Nodes to ask first; one that answers is enough.
pub const SEEDS_MAX: usize = 16;
/// A root key, and the next one while the operator changes it.
pub const ROOTS_MAX: usize = 2;
/// Where nodes listen to each other, UDP and TCP.
pub const PEER_PORT: u16 = 12_213;

/// What the command line asks of us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `luc.name=`: the node's name.
    pub name: Option<String>,
    /// `luc.nic=`, else `BOOTIF=`: the network card to try first.
    pub nic: Option<[u8; 6]>,
    /// `luc.vlan=` or `vlan=`: the tagged network to use.
    pub vlan: Option<u16>,
    /// What it needs to become a member of a cluster.
    pub cluster: ClusterWords,
    /// Sentences about words of ours that made no sense.
    pub warnings: Vec<String>,
}

/// The words about a cluster, as they were written; `identity` judges keys and tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterWords {
    /// `luc.root=`: the cluster's public root key, or two with a comma. None: a node alone.
    pub roots: Vec<String>,
    /// `luc.site=`: where this machine stands.
    pub site: Option<Name>,
    /// `luc.seeds=`: nodes to ask first, `ADDRESS` or `ADDRESS:PORT`, with commas.
    pub seeds: Vec<SocketAddr>,
    /// `luc.state=`: what the operator says of this machine's state disk.
    pub disk: DiskWish,
    /// `luc.token=`: the right to join. Secret: only from firmware.
    pub token: Option<String>,
}

/// What the operator says of the disk that keeps a node's identity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskWish {
    /// One that is there is used; a machine without one begins anew at each boot.
    #[default]
    Any,
    /// `luc.state=disk`: there is one, perhaps a slow one. Wait for it.
    Wanted,
    /// `luc.state=none`: begin anew at each boot, and leave disks alone.
    Never,
}

/// Where a word was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    CommandLine,
    Firmware,
}

impl Arguments {
    /// Reads the line that the kernel shows in /proc/cmdline, and the firmware's strings.
    #[must_use]
    pub fn read() -> Arguments {
        let mut arguments =
            Arguments::parse(&sys::read_attribute("/proc/cmdline").unwrap_or_default());
        match sys::oem_strings::read() {
            Ok(strings) => arguments.hear_firmware(&strings),
            Err(error) => arguments
                .warnings
                .push(format!("the firmware's OEM strings can't be read: {error}")),
        }
        arguments
    }

    /// Takes in OEM strings; what they say wins over the command line.
    pub fn hear_firmware(&mut self, strings: &[String]) {
        for word in strings.iter().take(ARGUMENTS_MAX) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            if key.starts_with("luc.") {
                self.hear(Source::Firmware, word, key, value);
            }
        }
    }

    /// Reads a command line.
    #[must_use]
    pub fn parse(line: &str) -> Arguments {
        let mut arguments = Arguments::default();
        let mut boot_nic = None;
        for word in line.split_ascii_whitespace().take(ARGUMENTS_MAX) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                // PXE loaders put the hardware type (01, Ethernet) before the address.
                "BOOTIF" => match value.strip_prefix("01-").and_then(parse_mac) {
                    Some(mac) => boot_nic = Some(mac),
                    None => arguments.warn(word, "01- and a MAC address with dashes"),
                },
                "vlan" => arguments.hear(Source::CommandLine, word, "luc.vlan", value),
                key if key.starts_with("luc.") => {
                    arguments.hear(Source::CommandLine, word, key, value);
                }
                _ => {}
            }
        }
        arguments.nic = arguments.nic.or(boot_nic);
        arguments
    }

    /// One word of ours.
    fn hear(&mut self, source: Source, word: &str, key: &str, value: &str) {
        let cluster = &mut self.cluster;
        let expected = match key {
            "luc.name" if is_name(value) => return self.name = Some(value.to_owned()),
            "luc.name" => "a DNS label: a-z, 0-9 and dashes",
            "luc.nic" => match parse_mac(value) {
                Some(mac) => return self.nic = Some(mac),
                None => "a MAC address",
            },
            "luc.vlan" => match parse_vlan(value) {
                Some(vlan) => return self.vlan = Some(vlan),
                None => "a VLAN number from 1 to 4094",
            },
            "luc.site" => match value.parse() {
                Ok(site) => return cluster.site = Some(site),
                Err(_) => "a site's name: a-z, 0-9 and dashes",
            },
            "luc.seeds" => match parse_seeds(value) {
                Some(seeds) => return cluster.seeds = seeds,
                None => "up to 16 addresses with commas, such as 192.0.2.1,192.0.2.2:12213",
            },
            "luc.root" => match parse_roots(value) {
                Some(roots) => return cluster.roots = roots,
                None => "a root key, or two with a comma",
            },
            "luc.state" => match value {
                "disk" => return cluster.disk = DiskWish::Wanted,
                "none" => return cluster.disk = DiskWish::Never,
                _ => "disk or none",
            },
            "luc.token" if source == Source::CommandLine => {
                // The value is a secret that others may have seen; the log must not spread it.
                return self.warn(
                    "luc.token=...",
                    "it in the firmware's OEM strings: a token is secret",
                );
            }
            "luc.token" if !value.is_empty() => return cluster.token = Some(value.to_owned()),
            "luc.token" => "a join token",
            _ => {
                "one of luc.name, luc.nic, luc.vlan, luc.root, luc.site, luc.seeds, luc.state, \
                 luc.token"
            }
        };
        self.warn(word, expected);
    }

    fn warn(&mut self, word: &str, expected: &str) {
        let word: String = word
            .chars()
            .filter(|letter| !letter.is_control())
            .take(64)
            .collect();
        self.warnings.push(format!(
            "boot argument {word:?} ignored: expected {expected}"
        ));
    }
}

/// A DNS label: lower-case letters, digits and inner dashes.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    !text.is_empty()
        && text.len() <= NAME_MAX
        && text.bytes().all(|letter| plain(letter) || letter == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// `12`, or dracut's `name12:nic` and `vlan12`: the digits at the end of the first part.
fn parse_vlan(text: &str) -> Option<u16> {
    let first = text.split(':').next()?;
    let digits = first.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    digits.parse().ok().filter(|vlan| (1..=4094).contains(vlan))
}

fn parse_seeds(text: &str) -> Option<Vec<SocketAddr>> {
    let seed = |text: &str| {
        let bare = || {
            Some(SocketAddr::from((
                text.parse::<Ipv4Addr>().ok()?,
                PEER_PORT,
            )))
        };
        text.parse().ok().or_else(bare)
    };
    let seeds: Option<Vec<_>> = text.split(',').map(seed).collect();
    seeds.filter(|seeds| seeds.len() <= SEEDS_MAX)
}

fn parse_roots(text: &str) -> Option<Vec<String>> {
    let roots: Vec<_> = text.split(',').map(str::to_owned).collect();
    let right = roots.len() <= ROOTS_MAX && roots.iter().all(|root| !root.is_empty());
    right.then_some(roots)
}

/// Fuzz entry: any line gives values that hold their own rules.
pub fn fuzz_arguments(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    let mut arguments = Arguments::parse(&line);
    assert_eq!(arguments.cluster.token, None);
    let strings: Vec<String> = line.lines().map(str::to_owned).collect();
    arguments.hear_firmware(&strings);
    assert!(arguments.cluster.seeds.len() <= SEEDS_MAX);
    assert!(arguments.cluster.roots.len() <= ROOTS_MAX);
    assert!(arguments.name.as_deref().is_none_or(is_name));
    assert!(arguments.vlan.is_none_or(|vlan| (1..=4094).contains(&vlan)));
    assert!(arguments.warnings.len() <= 2 * ARGUMENTS_MAX);
    assert!(
        arguments
            .warnings
            .iter()
            .all(|line| !line.contains(char::is_control))
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    #[test]
    fn our_words_are_found_among_the_kernels() {
        let line = "console=tty0 console=ttyS0,115200 panic=10 luc.name=paris-3 \
                    BOOTIF=01-52-54-00-12-34-56 luc.vlan=7";
        let expected = Arguments {
            name: Some("paris-3".to_owned()),
            nic: Some(MAC),
            vlan: Some(7),
            ..Arguments::default()
        };
        assert_eq!(Arguments::parse(line), expected);
    }

    #[test]
    fn firmware_wins_and_alone_may_hold_a_token() {
        let mut arguments = Arguments::parse(
            "luc.root=abc,def luc.site=paris luc.seeds=192.0.2.1,192.0.2.2:99 luc.token=s3cr3t",
        );
        let seeds = ["192.0.2.1:12213", "192.0.2.2:99"].map(|text| text.parse().unwrap());
        assert_eq!(arguments.cluster.roots, ["abc", "def"]);
        assert_eq!(arguments.cluster.seeds, seeds);
        assert_eq!(arguments.cluster.token, None);
        assert_eq!(arguments.warnings.len(), 1);
        assert!(
            !arguments.warnings[0].contains("s3cr3t"),
            "{:?}",
            arguments.warnings
        );

        let strings = [
            "luc.site=lyon",
            "luc.token=s3cr3t",
            "Dell System",
            "luc.state=disk",
            "luc.what=1",
        ];
        arguments.hear_firmware(&strings.map(str::to_owned));
        assert_eq!(arguments.cluster.site.unwrap().to_string(), "lyon");
        assert_eq!(arguments.cluster.token.as_deref(), Some("s3cr3t"));
        assert_eq!(arguments.cluster.disk, DiskWish::Wanted);
        assert_eq!(arguments.warnings.len(), 2);
    }

    #[test]
    fn a_named_card_wins_over_the_one_we_booted_from() {
        let line = "luc.nic=52:54:00:12:34:56 BOOTIF=01-02-00-00-00-00-01";
        assert_eq!(Arguments::parse(line).nic, Some(MAC));
    }

    #[test]
    fn dracuts_vlan_names_are_understood() {
        for (text, vlan) in [("7", 7), ("vlan7:eth0", 7), ("eth0.12", 0), ("bond12", 12)] {
            let expected = (vlan != 0).then_some(vlan);
            let parsed = parse_vlan(text);
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_value_is_a_warning_and_the_default() {
        for word in [
            "luc.name=Paris_3",
            "luc.name=",
            "luc.nic=eth0",
            "luc.vlan=0",
            "luc.vlan=4095",
            "BOOTIF=52-54-00-12-34-56",
            "luc.color=red",
            "luc.name=-a",
            "luc.site=Paris_3",
            "luc.seeds=paris",
            "luc.root=",
            "luc.root=a,b,c",
            "luc.state=usb",
            "luc.token=s3cr3t",
        ] {
            let arguments = Arguments::parse(word);
            assert_eq!(arguments.warnings.len(), 1, "{word}");
            assert_eq!(
                Arguments {
                    warnings: Vec::new(),
                    ..arguments
                },
                Arguments::default()
            );
        }
    }
}
