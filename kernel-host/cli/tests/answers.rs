//! What people see of a cluster, through any node of it.
#![allow(clippy::unwrap_used)]

mod fake;
mod harness;
mod nodes;

use fake::FakeNode;
use harness::{file, luc};
use protocol::{Page, SiteEntry, Vm, VmState, problem::exit};

fn cluster() -> (FakeNode, tempfile::TempDir) {
    let node = FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    add_image(&node, &folder);
    nodes::join(&node);
    (node, folder)
}

fn add_image(node: &FakeNode, folder: &tempfile::TempDir) {
    let kernel = file(folder, "kernel", b"a kernel");
    let initrd = file(folder, "initrd", &vec![7; 3 << 20]);
    let ran = luc(&format!(
        "--via {} image add img --kernel {} --initrd {} --cmdline console=ttyS0",
        node.address(),
        kernel.display(),
        initrd.display()
    ));
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
}

#[test]
fn lists_name_what_does_not_answer_and_are_no_failure() {
    let (node, _folder) = cluster();
    let at = format!("--via {}", node.address());
    luc(&format!("{at} vm create web --image img --wait"));
    let ran = luc(&format!(
        "{at} vm list --columns name,state,site,host,as-of"
    ));
    assert_eq!(ran.code, exit::DONE);
    assert_eq!(
        ran.output,
        "\
NAME      STATE                 SITE  HOST   AS-OF
cache     running, unreachable  fra   fra-1  8 min ago
db        running               ams   ams-2  0 s ago
shop~lon  running               lon   lon-1  2 s ago
shop~fra  stopped, unreachable  fra   fra-1  8 min ago
web       running               ams   fake   now
"
    );
    assert_eq!(
        ran.errors,
        "\
note:    site `fra` does not answer; last heard of 8 min ago
note:    node `doomed` of site `ams` does not answer; last known alive 3 min ago
"
    );
    assert_eq!(luc(&format!("{at} vm list -q")).errors, "");
    let json = luc(&format!("{at} vm list -o json"));
    let vms: Vec<Vm> = serde_json::from_str(&json.output).unwrap();
    assert_eq!(vms.len(), 5, "programs get no notes among the objects");
}

#[test]
fn a_list_can_be_of_one_site_or_node() {
    let (node, _folder) = cluster();
    let at = format!("--via {}", node.address());
    for (wish, wanted, told) in [
        ("--site lon", "shop\n", ""),
        ("--node ams-2", "db\n", ""),
        (
            "--node fra-1",
            "cache\nshop\n",
            "site `fra` does not answer",
        ),
    ] {
        let ran = luc(&format!("{at} vm list {wish} -o name"));
        assert_eq!(ran.output, wanted, "{wish}");
        assert!(ran.errors.contains(told), "{wish}: {ran:?}");
    }
    let ran = luc(&format!("{at} vm list --site lno"));
    assert_eq!(ran.code, exit::NOT_FOUND);
    assert!(ran.errors.contains("Did you mean `lon`?"), "{ran:?}");
}

#[test]
fn equal_names_are_pointed_at_by_site_or_id() {
    let (node, _folder) = cluster();
    let at = format!("--via {}", node.address());
    let ran = luc(&format!("{at} vm show shop"));
    assert_eq!(ran.code, exit::CONFLICT);
    assert!(ran.errors.contains("shop~fra, shop~lon"), "{ran:?}");
    for (selector, state) in [
        ("shop~lon", VmState::Running),
        ("shop~fra", VmState::Stopped),
        ("vm-a4", VmState::Stopped),
    ] {
        let ran = luc(&format!("{at} vm show {selector} -o json"));
        let vm: Vm = serde_json::from_str(&ran.output).unwrap();
        assert_eq!(vm.state, state, "{selector}");
    }
}

#[test]
fn nodes_and_sites_say_how_fresh_they_are_known() {
    let (node, _folder) = cluster();
    let at = format!("--via {}", node.address());
    let ran = luc(&format!(
        "{at} node list --columns name,site,state,free,as-of"
    ));
    assert_eq!(
        ran.output,
        "\
NAME    SITE  STATE        FREE               AS-OF
ams-2   ams   alive        14 GiB of 16 GiB   0 s ago
doomed  ams   dead         -                  3 min ago
fake    ams   alive        1020 MiB of 1 GiB  now
fra-1   fra   unreachable  14 GiB of 16 GiB   8 min ago
lon-1   lon   alive        14 GiB of 16 GiB   2 s ago
"
    );
    let ran = luc(&format!("{at} site list"));
    assert_eq!(
        ran.output,
        "\
NAME  STATE        NODES   VMS  FREE      RTT    AS-OF
ams   incomplete   2 of 3  1    14.9 GiB  -      now
fra   unreachable  0 of 1  0    0 B       -      8 min ago
lon   whole        1 of 1  1    14 GiB    50 ms  2 s ago
"
    );
    let page: Vec<SiteEntry> =
        serde_json::from_str(&luc(&format!("{at} site list -o json")).output).unwrap();
    assert_eq!(page.len(), 3);
    // A node that does not answer itself is shown as the others know it.
    let ran = luc(&format!("{at} node show fra-1"));
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    assert!(ran.output.contains("state    unreachable"), "{ran:?}");
    assert!(
        ran.errors.contains("what other nodes know of it"),
        "{ran:?}"
    );
    let ran = luc(&format!("{at} node remove doomed --dry-run"));
    assert_eq!(ran.code, exit::WOULD_CHANGE);
}

#[test]
fn an_image_is_one_row_with_its_nodes() {
    let (node, _folder) = cluster();
    let at = format!("--via {}", node.address());
    let ran = luc(&format!("{at} image list --columns name,sites,nodes"));
    assert_eq!(
        ran.output,
        "NAME  SITES     NODES\nimg   ams, lon  fake, ams-2, lon-1\n"
    );
}

/// The asked node is the one that is meant, also if it knows of others with this very image.
#[test]
fn an_image_that_others_have_is_added_where_it_is_asked_for() {
    let node = FakeNode::start();
    let folder = tempfile::tempdir().unwrap();
    nodes::join(&node);
    let list = format!(
        "--via {} image list --columns name,sites,nodes",
        node.address()
    );
    assert_eq!(
        luc(&list).output,
        "NAME  SITES     NODES\nimg   ams, lon  ams-2, lon-1\n"
    );
    add_image(&node, &folder);
    let with_fake = "NAME  SITES     NODES\nimg   ams, lon  fake, ams-2, lon-1\n";
    assert_eq!(luc(&list).output, with_fake);
    add_image(&node, &folder); // once more is done already
    assert_eq!(luc(&list).output, with_fake);
}

#[test]
fn a_wish_for_a_place_is_told_why_it_can_not_be() {
    let (node, _folder) = cluster();
    let at = format!("--via {} vm create new --image img", node.address());
    for (wish, code, told) in [
        (
            "--node fra-1",
            exit::UNREACHABLE,
            "Node `fra-1` does not answer",
        ),
        (
            "--site fra",
            exit::NOT_FOUND,
            "Image `img` is on no node of site `fra`",
        ),
        (
            "--site fra --node ams-2",
            exit::USAGE,
            "`ams-2` is not in site `fra`",
        ),
        (
            "--node nobody",
            exit::NOT_FOUND,
            "There is no node `nobody`",
        ),
    ] {
        let ran = luc(&format!("{at} {wish}"));
        assert_eq!(ran.code, code, "{wish}: {ran:?}");
        assert!(ran.errors.contains(told), "{wish}: {ran:?}");
        assert!(ran.errors.contains("advice:"), "{wish}: {ran:?}");
    }
}

#[test]
fn the_first_door_that_opens_is_used() {
    let (node, _folder) = cluster();
    let ran = luc(&format!(
        "--via 127.0.0.1:1,{} vm list -o name",
        node.address()
    ));
    assert_eq!(ran.code, exit::DONE, "{ran:?}");
    let ran = luc("--via 127.0.0.1:1,127.0.0.1:2 vm list");
    assert_eq!(ran.code, exit::UNREACHABLE);
    assert!(ran.errors.contains("LUC_VIA"), "{ran:?}");
}

#[test]
fn a_node_without_a_cluster_speaks_the_same_commands() {
    let node = FakeNode::start();
    let at = format!("--via {}", node.address());
    let ran = luc(&format!("{at} node list --columns name,site,state,as-of"));
    assert_eq!(
        ran.output,
        "NAME  SITE  STATE  AS-OF\nfake  -     alive  now\n"
    );
    assert_eq!(luc(&format!("{at} site list -o json")).output, "[]\n");
    let ran = luc(&format!("{at} node pending"));
    assert_eq!(ran.code, exit::REFUSED);
    assert!(ran.errors.contains("belongs to no cluster"), "{ran:?}");
}

#[test]
fn pages_say_what_may_be_missing() {
    let page: Page<Vm> = serde_json::from_str(r#"{"items":[],"next":null}"#).unwrap();
    assert!(page.notes.is_empty(), "older nodes say nothing");
}
