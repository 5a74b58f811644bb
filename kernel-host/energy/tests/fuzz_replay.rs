//! Replays each corpus, then seeded mutations of it, through its fuzz target.

macro_rules! replays {
    ($($name:ident $target:ident;)+) => {$(
        #[test]
        fn $name() {
            let folder = env!("CARGO_MANIFEST_DIR");
            corpus::replay(folder, stringify!($name), energy::fuzz::$target);
        }
    )+};
}

replays! {
    curve fuzz_curve;
    dcmi fuzz_dcmi;
    http fuzz_http;
    ledger fuzz_ledger;
    modbus fuzz_modbus;
    nut fuzz_nut;
    snmp fuzz_snmp;
    tree fuzz_tree;
}
