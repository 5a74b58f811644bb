//! Every parser that takes bytes from outside, by name: what `fuzz_targets/any.rs` can run.
//!
//! Does:      names each fuzz target of the tree once, as `room/corpus`.
//! Does not:  search for inputs (libFuzzer does) or replay the corpora (each room's tests do).
//! Bounds:    `TARGETS`.
//! Trusts:    `qemu-tests/tests/tidy.rs`, which fails when a target or its corpus is missing.
//! Start at:  `TARGETS`.

#![forbid(unsafe_code)]

/// A function that panics when some bytes break a promise.
pub type Target = fn(&[u8]);

/// `room/corpus` and the target; the seeds lie in `corpus/<corpus>/` of the room's folder.
#[rustfmt::skip] // keeps the columns
pub const TARGETS: &[(&str, Target)] = &[
    ("api/request",            api::fuzz::fuzz_request),
    ("energy/curve",           energy::fuzz::fuzz_curve),
    ("energy/dcmi",            energy::fuzz::fuzz_dcmi),
    ("energy/http",            energy::fuzz::fuzz_http),
    ("energy/ledger",          energy::fuzz::fuzz_ledger),
    ("energy/modbus",          energy::fuzz::fuzz_modbus),
    ("energy/nut",             energy::fuzz::fuzz_nut),
    ("energy/snmp",            energy::fuzz::fuzz_snmp),
    ("energy/tree",            energy::fuzz::fuzz_tree),
    ("identity/credential",    identity::fuzz::fuzz_credential),
    ("identity/saved",         identity::fuzz::fuzz_saved),
    ("identity/statement",     identity::fuzz::fuzz_statement),
    ("identity/text",          identity::fuzz::fuzz_text),
    ("cloud/body",             cloud::fuzz::fuzz_body),
    ("energy/feed",            energy::green::fuzz::fuzz_feed),
    ("energy/part",            energy::green::fuzz::fuzz_part),
    ("energy/site_state",      energy::green::fuzz::fuzz_site_state),
    ("image-builder/allow",    image_builder::fuzz::fuzz_allow),
    ("image-builder/binary",   image_builder::fuzz::fuzz_binary),
    ("image-builder/deb",      image_builder::fuzz::fuzz_deb),
    ("image-builder/initrd",   image_builder::fuzz::fuzz_initrd),
    ("image-builder/lock",     image_builder::fuzz::fuzz_lock),
    ("image-builder/manifest", image_builder::fuzz::fuzz_manifest),
    ("image-builder/modinfo",  image_builder::fuzz::fuzz_modinfo),
    ("image-builder/path",     image_builder::fuzz::fuzz_path),
    ("image-builder/range",    image_builder::fuzz::fuzz_range),
    ("image-builder/uki",      image_builder::fuzz::fuzz_uki),
    ("machine/bzimage",        machine::fuzz::fuzz_bzimage),
    ("machine/control",        machine::fuzz::fuzz_control),
    ("machine/vmlinux",        machine::fuzz::fuzz_vmlinux),
    ("netcore/client",         netcore::fuzz::fuzz_client),
    ("netcore/cut",            netcore::fuzz::fuzz_cut),
    ("netcore/datagram",       netcore::fuzz::fuzz_datagram),
    ("netcore/message",        netcore::fuzz::fuzz_message),
    ("netcore/names",          netcore::fuzz::fuzz_names),
    ("netcore/packet",         netcore::fuzz::fuzz_packet),
    ("netcore/server",         netcore::fuzz::fuzz_server),
    ("netcore/shim",           netcore::fuzz::fuzz_shim),
    ("netcore/switch",         netcore::fuzz::fuzz_switch),
    ("netcore/tftp",           netcore::fuzz::fuzz_tftp),
    ("netio/arp",              netio::fuzz::fuzz_arp),
    ("netio/offload",          netio::fuzz::fuzz_offload),
    ("netio/wire",             netio::fuzz::fuzz_wire),
    ("node/arguments",         node::arguments::fuzz_arguments),
    ("node/seeds",             node::service::fuzz_seeds),
    ("node/supervision",       node::supervision::fuzz_supervision),
    ("overlay/overlay",        overlay::fuzz::fuzz_overlay),
    ("overlay/swim",           overlay::fuzz::fuzz_swim),
    ("peek/disk",              peek::fuzz::fuzz_disk),
    ("peek/menu",              peek::fuzz::fuzz_menu),
    ("protocol/admission",     protocol::fuzz::fuzz_admission),
    ("protocol/lookup",        protocol::fuzz::fuzz_lookup),
    ("protocol/record",        protocol::fuzz::fuzz_record),
    ("protocol/register",      protocol::fuzz::fuzz_register),
    ("protocol/words",         protocol::fuzz::fuzz_words),
    ("session/data",           session::fuzz::fuzz_data),
    ("session/handshake",      session::fuzz::fuzz_handshake),
    ("session/stream",         session::fuzz::fuzz_stream),
    ("state/header",           state::fuzz_header),
    ("sys/alias",              sys::aliases::fuzz_alias),
    ("sys/cpu_time",           sys::cpu_time::fuzz_cpu_time),
    ("sys/module_table",       sys::modules::fuzz_module_table),
    ("sys/oem_strings",        sys::oem_strings::fuzz_oem_strings),
    ("sys/uevent",             sys::uevents::fuzz_uevent),
    ("virtio/block",           virtio::fuzz::fuzz_block),
    ("virtio/config_space",    virtio::fuzz::fuzz_config_space),
    ("virtio/console",         virtio::fuzz::fuzz_console),
    ("virtio/entropy",         virtio::fuzz::fuzz_entropy),
    ("virtio/network",         virtio::fuzz::fuzz_network),
    ("virtio/registers",       virtio::fuzz::fuzz_registers),
];

/// The target of this name.
///
/// # Errors
///
/// A text for people that lists every name, when there is no such target.
pub fn named(name: Option<&str>) -> Result<Target, String> {
    if let Some((_, target)) = TARGETS.iter().find(|(at, _)| Some(*at) == name) {
        return Ok(*target);
    }
    let problem = match name {
        Some(name) => format!("LUC_FUZZ={name}: there is no such target."),
        None => "LUC_FUZZ is not set.".to_owned(),
    };
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "{problem} Set it to one of:\n  {}",
        names.join("\n  ")
    ))
}
