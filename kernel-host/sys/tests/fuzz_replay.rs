//! Replays the corpora, then seeded mutations of them, through their fuzz targets.

#[test]
fn aliases() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "alias",
        sys::aliases::fuzz_alias,
    );
}

#[test]
fn module_tables() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "module_table",
        sys::modules::fuzz_module_table,
    );
}

#[test]
fn uevents() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "uevent",
        sys::uevents::fuzz_uevent,
    );
}

#[test]
fn oem_strings() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "oem_strings",
        sys::oem_strings::fuzz_oem_strings,
    );
}

#[test]
fn cpu_time() {
    corpus::replay(
        env!("CARGO_MANIFEST_DIR"),
        "cpu_time",
        sys::cpu_time::fuzz_cpu_time,
    );
}
