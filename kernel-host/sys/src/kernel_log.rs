//! The kernel's log: how much of it reaches the consoles.

/// From now on only messages more severe than `level` reach the consoles; all stay in the log.
/// 3 is an error, 4 a warning, 6 information.
///
/// # Errors
/// When the caller may not.
pub fn limit_consoles(level: u8) -> Result<(), crate::sysctl::SettingError> {
    crate::sysctl::set("kernel/printk", &level.to_string())
}
