//! Module aliases: the kernel's patterns for "this driver serves that device".
//!
//! Does:      `fnmatch` with `*`, `?` and `[...]`, as the kernel's own tools match them.
//! Does not:  treat `/` or a leading dot specially; a device name is not a path.
//! Bounds:    time is at most pattern length x text length: only the last `*` is retried.
//! Trusts:    nothing; any bytes are a pattern, and a broken `[` is a plain character.
//! Start at:  `matches`.

/// Does the pattern cover the whole text?
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to continue when a later character fails: after the last `*`, one character further.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let Some(width) = step(&pattern[p..], text[t]) {
            p += width;
            t += 1;
            continue;
        }
        match retry {
            Some((after_star, eaten)) => {
                p = after_star;
                t = eaten + 1;
                retry = Some((after_star, eaten + 1));
            }
            None => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// How many pattern bytes cover this one character; `None` if they don't.
fn step(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => match set(pattern) {
            Some((width, members, negated)) => {
                (contains(members, byte) != negated).then_some(width)
            }
            None => (byte == b'[').then_some(1),
        },
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        plain => (*plain == byte).then_some(1),
    }
}

/// Splits `[members]...` into its width, its members and whether `!` or `^` negates it.
fn set(pattern: &[u8]) -> Option<(usize, &[u8], bool)> {
    let negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if negated { 2 } else { 1 };
    // A `]` in first place is a member.
    let close = (first + 1..pattern.len()).find(|at| pattern[*at] == b']')?;
    Some((close + 1, &pattern[first..close], negated))
}

fn contains(members: &[u8], byte: u8) -> bool {
    let mut at = 0;
    while at < members.len() {
        if at + 2 < members.len() && members[at + 1] == b'-' {
            if (members[at]..=members[at + 2]).contains(&byte) {
                return true;
            }
            at += 3;
        } else {
            if members[at] == byte {
                return true;
            }
            at += 1;
        }
    }
    false
}

/// The plain beginning of a pattern: a text that it covers starts with these bytes.
#[must_use]
pub fn literal_prefix(pattern: &str) -> &str {
    let end = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
    &pattern[..end]
}

/// Fuzz entry: the first byte splits the rest into a pattern and a text.
pub fn fuzz_alias(data: &[u8]) {
    let Some((split, rest)) = data.split_first() else {
        return;
    };
    let at = usize::from(*split).min(rest.len());
    let pattern = String::from_utf8_lossy(&rest[..at]);
    let text = String::from_utf8_lossy(&rest[at..]);
    if matches(&pattern, &text) {
        assert!(
            text.starts_with(literal_prefix(&pattern)),
            "the prefix index would miss a match"
        );
    }
    assert!(
        matches(&format!("{}*", escape(&text)), &text),
        "a text covers itself"
    );
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // keeps the columns
    fn patterns_cover_devices_as_modprobe_says() {
        //    pattern                                       device                                         covered
        check("virtio:d00000001v*",                         "virtio:d00000001v00001AF4",                    true);
        check("virtio:d00000002v*",                         "virtio:d00000001v00001AF4",                    false);
        check("pci:v00008086d0000100Esv*sd*bc*sc*i*",       "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00", true);
        check("acpi*:LNXPWRBN:*",                           "acpi:LNXPWRBN:",                               true);
        check("acpi*:LNXPWRBN:*",                           "acpi:LNXSLPBN:",                               false);
        check("cpu:type:x86,ven0002fam*mod*:feature:*00C2*","cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,00C1,00C2,00C5", true);
        check("cpu:type:x86,ven0002fam*mod*:feature:*00C2*","cpu:type:x86,ven0000fam0006mod009E:feature:,0085,00C2", false);
        check("usb:v1A2Cp[0-9A-F]*d*",                      "usb:v1A2Cp2124d0110",                          true);
        check("a[!b]c",                                     "abc",                                          false);
        check("a[!b]c",                                     "axc",                                          true);
        check("a[]]c",                                      "a]c",                                          true);
        check("a[bc",                                       "a[bc",                                         true);
        check("",                                           "",                                             true);
        check("*",                                          "",                                             true);
        check("?",                                          "",                                             false);
        check("*a*b*c",                                     "xxaxxbxxbxxc",                                 true);
        check("*a*b*c",                                     "xxaxxbxxcx",                                   false);
    }

    fn check(pattern: &str, device: &str, covered: bool) {
        assert_eq!(matches(pattern, device), covered, "{pattern} on {device}");
    }

    #[test]
    fn a_hostile_pattern_does_not_explode() {
        let pattern = "*a".repeat(2000);
        let text = "a".repeat(4000) + "b";
        assert!(!matches(&pattern, &text));
    }
}
