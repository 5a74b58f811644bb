//! The kernel's command line: the few arguments that are meant for us.
//!
//! Does:      reads `luc.*`, `BOOTIF=` and `vlan=`; says which of ours it did not understand.
//! Does not:  take secrets or code: anyone on the boot network can write this line.
//! Bounds:    `ARGUMENTS_MAX` words; the kernel itself cuts the line at 2 KiB.
//! Trusts:    nothing: a wrong value is a warning and the default applies.
//! Start at:  `Arguments::parse`.

use sys::nics::parse_mac;

/// Words looked at; the rest are ignored.
const ARGUMENTS_MAX: usize = 256;
/// The longest name that is a DNS label.
const NAME_MAX: usize = 63;

/// What the command line asks of us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments {
    /// `luc.name=`: the node's name.
    pub name: Option<String>,
    /// `luc.nic=`, else `BOOTIF=`: the network card to try first.
    pub nic: Option<[u8; 6]>,
    /// `luc.vlan=` or `vlan=`: the tagged network to use.
    pub vlan: Option<u16>,
    /// Sentences about words of ours that made no sense.
    pub warnings: Vec<String>,
}

impl Arguments {
    /// Reads the line that the kernel shows in /proc/cmdline.
    #[must_use]
    pub fn read() -> Arguments {
        Arguments::parse(&sys::read_attribute("/proc/cmdline").unwrap_or_default())
    }

    /// Reads a command line.
    #[must_use]
    pub fn parse(line: &str) -> Arguments {
        let mut arguments = Arguments::default();
        let mut boot_nic = None;
        for word in line.split_ascii_whitespace().take(ARGUMENTS_MAX) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "luc.name" if is_name(value) => arguments.name = Some(value.to_owned()),
                "luc.nic" if parse_mac(value).is_some() => arguments.nic = parse_mac(value),
                "luc.vlan" | "vlan" => match parse_vlan(value) {
                    Some(vlan) => arguments.vlan = Some(vlan),
                    None => arguments.warn(word, "a VLAN number from 1 to 4094"),
                },
                // PXE loaders put the hardware type (01, Ethernet) before the address.
                "BOOTIF" => match value.strip_prefix("01-").and_then(parse_mac) {
                    Some(mac) => boot_nic = Some(mac),
                    None => arguments.warn(word, "01- and a MAC address with dashes"),
                },
                "luc.name" => arguments.warn(word, "a DNS label: a-z, 0-9 and dashes"),
                "luc.nic" => arguments.warn(word, "a MAC address"),
                key if key.starts_with("luc.") => {
                    arguments.warn(word, "one of luc.name, luc.nic, luc.vlan");
                }
                _ => {}
            }
        }
        arguments.nic = arguments.nic.or(boot_nic);
        arguments
    }

    fn warn(&mut self, word: &str, expected: &str) {
        let word: String = word
            .chars()
            .filter(|letter| !letter.is_control())
            .take(64)
            .collect();
        self.warnings.push(format!(
            "kernel argument {word:?} ignored: expected {expected}"
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

/// Fuzz entry: any line gives values that hold their own rules.
pub fn fuzz_arguments(data: &[u8]) {
    let arguments = Arguments::parse(&String::from_utf8_lossy(data));
    assert!(arguments.name.as_deref().is_none_or(is_name));
    assert!(arguments.vlan.is_none_or(|vlan| (1..=4094).contains(&vlan)));
    assert!(arguments.warnings.len() <= ARGUMENTS_MAX);
    assert!(
        arguments
            .warnings
            .iter()
            .all(|line| !line.contains(char::is_control))
    );
}

#[cfg(test)]
mod tests {
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
            warnings: Vec::new(),
        };
        assert_eq!(Arguments::parse(line), expected);
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
