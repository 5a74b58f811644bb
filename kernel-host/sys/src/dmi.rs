//! What the machine says about itself: maker, product, serial number.
//!
//! Does:      reads the DMI strings that a technician finds on the case.
//! Does not:  trust them as an identity: many machines say `To be filled by O.E.M.`.
//! Bounds:    `TEXT_MAX` characters each.
//! Trusts:    nothing; control characters are removed.
//! Start at:  `Machine::read`.

/// Longer strings are cut.
const TEXT_MAX: usize = 64;

/// The machine's own words; empty where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub maker: String,
    pub product: String,
    pub serial: String,
    pub uuid: String,
}

impl Machine {
    /// Reads what the firmware left.
    #[must_use]
    pub fn read() -> Machine {
        Machine {
            maker: text("sys_vendor"),
            product: text("product_name"),
            serial: text("product_serial"),
            uuid: text("product_uuid"),
        }
    }
}

fn text(name: &str) -> String {
    let text = crate::read_attribute(format!("/sys/class/dmi/id/{name}")).unwrap_or_default();
    clean(&text)
}

fn clean(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(TEXT_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_string_cannot_paint_the_screen() {
        assert_eq!(clean("QEMU\x1b[2J\n"), "QEMU[2J");
        assert_eq!(clean(&"x".repeat(100)).len(), TEXT_MAX);
    }
}
