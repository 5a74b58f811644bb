//! Nodes whose state disks stall, fill and fail.

use super::super::disk::DiskState;
use super::town::Town;
use super::{config, token};
use overlay::{Answer, Input};

/// A site of one node, which guards its registers alone.
fn town_of_one() -> Town {
    let mut town = Town::new();
    town.boot(1, 1, config(1, "paris", Some(token(1, "paris", true)), &[]));
    town.run_s(15);
    assert!(town.is_member(1));
    town
}

fn swap(town: &mut Town, number: u8, ask: u64, expect: Option<u8>, value: u8) {
    let now = town.now();
    let input = Input::Swap {
        ask,
        register: [7; 16],
        expect: expect.map(|byte| vec![byte]),
        value: vec![value],
    };
    town.hub(number).tell(now, input).unwrap();
    town.collect(number);
}

fn read(town: &mut Town, number: u8, ask: u64) -> Answer {
    let now = town.now();
    let register = [7; 16];
    let input = Input::Read { ask, register };
    town.hub(number).tell(now, input).unwrap();
    town.collect(number);
    town.run_s(10);
    answer(town, ask).unwrap_or_else(|| panic!("question {ask} is not answered"))
}

fn answer(town: &Town, ask: u64) -> Option<Answer> {
    let mut answers = town.answers.iter();
    let found = answers.find(|(_, one, _)| *one == ask);
    found.map(|(.., answer)| answer.clone())
}

/// Goal: a node that guards alone answers a swap only once its vote is on its disk. A stall is
/// told once, with its age, then at doubled ages; so is its end. While it lasts the node guards
/// nothing, and then again.
#[test]
fn an_answer_waits_for_the_disk() {
    let mut town = town_of_one();
    swap(&mut town, 1, 1, None, 1);
    town.run_s(1);
    assert_eq!(answer(&town, 1), Some(Answer::Done));
    town.stuck.insert(1);
    swap(&mut town, 1, 2, Some(1), 2);
    town.run_s(6);
    assert_eq!(answer(&town, 2), None);
    assert!(
        town.has_said(1, "vda1 has not answered for 2 s"),
        "{:?}",
        town.said
    );
    assert!(town.has_said(1, "for 4 s"));
    assert!(town.hub(1).disk_trouble().is_some());
    assert!(town.hub(1).overlay().unwrap().registers().is_guardian());
    town.run_s(6);
    assert!(!town.hub(1).overlay().unwrap().registers().is_guardian());
    let told = town
        .said
        .iter()
        .filter(|(_, text)| text.contains("has not answered"))
        .count();
    assert_eq!(told, 3, "after 2, 4 and 8 s: {:?}", town.said);
    town.stuck.clear();
    town.run_s(2);
    assert!(town.has_said(1, "keeps what it is given again"));
    assert_eq!(answer(&town, 2), Some(Answer::Done));
    assert_eq!(town.hub(1).disk_trouble(), None);
    assert!(town.hub(1).overlay().unwrap().registers().is_guardian());
    assert_eq!(read(&mut town, 1, 3), Answer::Value(Some(vec![2])));
}

/// Goal: what rests on a disk that failed is never said; the node guards nothing until its next
/// boot, which begins with all that it had answered for.
#[test]
fn nothing_that_rests_on_a_failed_disk_is_said() {
    let mut town = town_of_one();
    swap(&mut town, 1, 1, None, 1);
    town.run_s(1);
    town.stuck.insert(1);
    swap(&mut town, 1, 2, Some(1), 2);
    let now = town.now();
    let kept = 0;
    let failed = DiskState::Failed("I/O error".to_owned());
    town.hub(1).handle_disk(now, kept, failed.clone());
    town.hub(1).handle_disk(now, kept, failed);
    town.collect(1);
    assert_eq!(answer(&town, 2), Some(Answer::Unsure));
    let told = town
        .said
        .iter()
        .filter(|(_, text)| text.contains("has failed"))
        .count();
    assert_eq!(told, 1, "{:?}", town.said);
    assert!(town.hub(1).disk_trouble().unwrap().contains("replace it"));
    town.waiting.clear();
    let outcome = read(&mut town, 1, 3);
    assert!(
        matches!(outcome, Answer::Unsure | Answer::Refused),
        "{outcome:?}"
    );
    town.run_s(60);
    assert!(!town.hub(1).overlay().unwrap().registers().is_guardian());
    assert!(
        !town.waiting.contains_key(&1),
        "a failed disk is asked for nothing"
    );

    let saved = town.saved[&1].clone();
    town.stuck.clear();
    town.hubs.remove(&1);
    let mut again = config(1, "paris", None, &[]);
    again.saved = saved;
    again.life = protocol::peer::Life::new(2, 0);
    town.boot(1, 1, again);
    town.run_s(10);
    assert_eq!(read(&mut town, 1, 4), Answer::Value(Some(vec![1])));
}

#[test]
fn a_full_disk_is_told_once_and_again_when_it_has_room() {
    let mut town = town_of_one();
    town.stuck.insert(1);
    for ask in 1..=5 {
        swap(&mut town, 1, ask, None, 1);
        let now = town.now();
        town.hub(1).handle_disk(now, 0, DiskState::Full);
        town.collect(1);
        town.run_s(3);
    }
    let told = |town: &Town, words: &str| {
        let said = town.said.iter();
        said.filter(|(_, text)| text.contains(words)).count()
    };
    assert_eq!(told(&town, "is full"), 1, "{:?}", town.said);
    assert_eq!(told(&town, "has not answered"), 0, "{:?}", town.said);
    town.stuck.clear();
    town.run_s(1);
    assert_eq!(told(&town, "keeps what it is given again"), 1);
    assert_eq!(town.hub(1).disk_trouble(), None);
}

/// Goal: a node that falls out of its cluster and comes back in the same boot has forgotten
/// nothing: it guards the registers of its site with what it had promised.
#[test]
fn a_node_that_is_a_member_again_starts_with_what_it_had() {
    let mut town = town_of_one();
    let token_of_two = Some(token(1, "paris", false));
    town.boot(2, 1, config(2, "paris", token_of_two, &[]));
    town.run_s(15);
    assert!(town.is_member(2), "{:?}", town.said);
    swap(&mut town, 1, 1, None, 9);
    town.run_s(5);
    assert_eq!(answer(&town, 1), Some(Answer::Done));
    let (now, by) = (town.now(), town.hub(2).me());
    town.hub(1)
        .ask_membership(now, |membership, _| membership.handle_cut(now, by));
    town.collect(1);
    assert!(!town.is_member(1));
    town.run_s(20);
    assert!(town.is_member(1), "{:?}", town.said);
    let overlay = town.hub(1).overlay().unwrap();
    assert!(
        overlay.registers().is_guardian(),
        "it forgot that it guards"
    );
    assert_eq!(read(&mut town, 2, 2), Answer::Value(Some(vec![9])));
}

/// What is asked while the node falls out of its cluster may have happened, or not.
#[test]
fn questions_that_wait_for_the_disk_end_with_the_membership() {
    let mut town = town_of_one();
    let token_of_two = Some(token(1, "paris", false));
    town.boot(2, 1, config(2, "paris", token_of_two, &[]));
    town.run_s(15);
    town.stuck.insert(1);
    swap(&mut town, 1, 1, None, 9);
    assert_eq!(answer(&town, 1), None);
    let (now, by) = (town.now(), town.hub(2).me());
    town.hub(1)
        .ask_membership(now, |membership, _| membership.handle_cut(now, by));
    town.collect(1);
    assert_eq!(answer(&town, 1), Some(Answer::Unsure));
}
