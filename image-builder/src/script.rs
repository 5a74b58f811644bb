//! The iPXE script, and the kernel's arguments.
//!
//! Does:      one script for BIOS and UEFI, with relative names, so that any server will do.
//! Does not:  name a host: firmware may know no DNS, and the script's own address is enough.
//! Bounds:    `ARGUMENTS_BYTES_MAX` of kernel arguments.
//! Trusts:    nothing; arguments that would break out of the script are refused.
//! Start at:  `ipxe_script`.

/// Kernel arguments, the kernel's own limit less what firmware and iPXE may add.
pub const ARGUMENTS_BYTES_MAX: usize = 1500;

/// What every kernel gets: all consoles, quiet enough for the status page, reboot after a panic.
pub const ARGUMENTS: &str = "console=tty0 console=ttyS0,115200 loglevel=4 panic=10";

/// `extra` after the standing arguments. `Err` is a sentence.
pub fn arguments(extra: &str) -> Result<String, String> {
    let text = format!("{ARGUMENTS} {}", extra.trim());
    let text = text.trim().to_owned();
    if text.len() > ARGUMENTS_BYTES_MAX {
        return Err(format!(
            "kernel arguments have more than {ARGUMENTS_BYTES_MAX} bytes"
        ));
    }
    // iPXE expands ${..} and splits lines; the firmware knows no encodings.
    let plain = |c: char| c.is_ascii_graphic() && !"$`\\".contains(c) || c == ' ';
    if let Some(odd) = text.chars().find(|c| !plain(*c)) {
        return Err(format!(
            "kernel arguments hold {odd:?}, which boot loaders read differently"
        ));
    }
    Ok(text)
}

/// The script. UEFI machines get the one program that Secure Boot can check; BIOS machines get
/// kernel and initrd. `initrd=` names the initrd for kernels that were started as UEFI programs.
/// They also serve a UEFI machine whose firmware refuses the program. A failed fetch is tried
/// again: the server may be on its way up as well.
pub fn ipxe_script(arguments: &str) -> String {
    format!(
        "#!ipxe\n\
         echo LUC OS: fetching the node image over ${{net0/mac}} ...\n\
         set arguments {arguments} BOOTIF=01-${{netX/mac:hexhyp}}\n\
         :retry\n\
         imgfree\n\
         iseq ${{platform}} efi && goto efi || goto bios\n\
         :efi\n\
         chain --autofree luc.efi ${{arguments}} || goto bios\n\
         :bios\n\
         kernel --name vmlinuz vmlinuz initrd=initrd.cpio ${{arguments}} || goto wait\n\
         initrd --name initrd.cpio initrd.cpio || goto wait\n\
         boot || goto wait\n\
         :wait\n\
         echo LUC OS: that did not work. Trying again in 5 s\n\
         sleep 5\n\
         goto retry\n"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn arguments_that_would_break_the_script_are_refused() {
        assert_eq!(
            arguments("luc.name=pop-1").unwrap(),
            format!("{ARGUMENTS} luc.name=pop-1")
        );
        for extra in ["a\nb", "${net0/ip}", "ä", &"x".repeat(1500)] {
            assert!(arguments(extra).is_err(), "{extra}");
        }
    }

    #[test]
    fn the_script_names_files_and_no_host() {
        let script = ipxe_script(ARGUMENTS);
        assert!(script.starts_with("#!ipxe\n"));
        assert!(!script.contains("://"));
        assert!(script.contains("initrd=initrd.cpio"));
    }
}
