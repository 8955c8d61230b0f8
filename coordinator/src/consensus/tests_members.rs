//! Admitting, replacing, removing, and handing over.

use super::{
    tests::{TestNode, cluster, commit, eventually, leader, member, sees},
    *,
};

#[tokio::test(flavor = "multi_thread")]
async fn members_are_admitted_once_and_removed() {
    let mut nodes = cluster(&["c1", "c2", "c3"]).await;
    let head = leader(&nodes).await;
    for node in &nodes {
        // Again, which changes nothing.
        head.admit(node.id(), node.member()).await.unwrap();
    }
    let members = head.members();
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|status| status.voter));
    assert_eq!(members.iter().filter(|status| status.leader).count(), 1);
    eventually("the followers' contact and progress", || async {
        head.members()
            .iter()
            .all(|status| status.matched.is_some() && status.last_contact_ms.is_some())
            .then_some(())
    })
    .await;

    let follower = nodes.iter().find(|node| node.id() != head.id()).unwrap();
    let refused = follower.remove(head.id()).await.unwrap_err();
    assert!(
        matches!(&refused, ChangeError::NotLeader { leader: Some(found) }
        if *found == head.member()),
        "{refused}"
    );
    head.remove(follower.id()).await.unwrap();
    assert!(head.members().iter().all(|status| status.node != follower.id()));
    assert!(matches!(head.remove(follower.id()).await, Err(ChangeError::Refused(_))));
    commit(&[head], 1).await;

    // The leader removes itself: the one that is left takes over and stays.
    let (old, out) = (head.id(), follower.id());
    head.remove(old).await.unwrap();
    let rest: Vec<&TestNode> =
        nodes.iter().filter(|node| node.id() != old && node.id() != out).collect();
    let last = leader(rest.iter().copied()).await;
    commit(&rest, 2).await;
    let words = last.remove(last.id()).await.unwrap_err().to_string();
    assert!(words.contains("last coordinator"), "{words}");
    for node in &mut nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_alone_is_not_left_behind() {
    let nodes = cluster(&["c1", "w"]).await;
    let head = leader(&nodes).await;
    let words = head.remove(head.id()).await.unwrap_err().to_string();
    assert!(words.contains("last coordinator"), "{words}");
    assert!(matches!(
        head.transfer_leadership(nodes[1].id()).await,
        Err(TransferError::Refused(_))
    ));
    head.remove(nodes[1].id()).await.unwrap();
    commit(&[head], 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_where_it_is_wanted() {
    let nodes = cluster(&["c1", "c2", "w"]).await;
    for round in 0..4 {
        let from = leader(&nodes).await;
        let term = from.leadership().borrow().term;
        let to = nodes[..2].iter().find(|node| node.id() != from.id()).unwrap();
        assert!(matches!(
            to.transfer_leadership(to.id()).await,
            Err(TransferError::NotLeader { .. })
        ));
        from.transfer_leadership(from.id()).await.unwrap();
        from.transfer_leadership(to.id()).await.unwrap();
        assert_eq!(leader(&nodes).await.id(), to.id());
        assert!(!from.leadership().borrow().ready);
        assert!(to.leadership().borrow().term > term);
        commit(&[&nodes[0], &nodes[1]], round).await;
    }
    let from = leader(&nodes).await;
    let to = nodes[..2].iter().find(|node| node.id() != from.id()).unwrap();
    to.connect(false);
    eventually("the leader to miss the other", || async {
        let members = from.members();
        let status = members.iter().find(|status| status.node == to.id()).unwrap();
        status.last_contact_ms.filter(|ms| *ms > 700)
    })
    .await;
    // Who does not answer is not handed anything, so nothing is lost.
    assert!(matches!(from.transfer_leadership(to.id()).await, Err(TransferError::Behind { .. })));
    commit(&[from], 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_coordinator_takes_its_old_place_under_a_new_number() {
    let mut nodes = cluster(&["c1", "c2", "w"]).await;
    for number in 1..=5 {
        commit(&[&nodes[0], &nodes[1]], number).await;
    }
    let lead = leader(&nodes).await.id();
    let at = nodes.iter().position(|node| node.id() != lead && node.name != "w").unwrap();
    let mut rebuilt = nodes.remove(at);
    let old = rebuilt.id();
    rebuilt.stop().await;
    std::fs::remove_file(rebuilt.directory.path().join(JOURNAL_FILE)).unwrap();
    rebuilt.run().await;
    assert_ne!(rebuilt.id(), old);
    assert!(!rebuilt.is_initialised().await.unwrap() && !rebuilt.joined());

    // The leader still speaks to the old number, and is refused in words.
    let head = leader(&nodes).await;
    eventually("the refusal of messages for the old number", || async {
        let members = head.members();
        let status = members.iter().find(|status| status.node == old)?;
        status.problem.clone().filter(|words| words.contains(&old.to_string()))
    })
    .await;
    assert!(rebuilt.seen().positions.is_empty());

    let known: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
    eventually("the rebuilt one's admission", || async { rebuilt.ask_to_join(&known).await.ok() })
        .await;
    let members = leader(&nodes).await.members();
    assert_eq!(members.len(), 3, "{members:?}");
    assert!(members.iter().all(|status| status.voter && status.node != old));
    sees(&rebuilt, 1..=5).await;
    eventually("its own knowledge of its vote", || async { rebuilt.joined().then_some(()) }).await;
    // It votes: with it and the leader alone there is a quorum.
    let at = nodes.iter().position(|node| node.name == "w").unwrap();
    nodes.remove(at).stop().await;
    commit(&[&nodes[0], &rebuilt], 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_alive_is_not_taken_over() {
    let nodes = cluster(&["c1", "c2"]).await;
    let head = leader(&nodes).await;
    let other = nodes.iter().find(|node| node.id() != head.id()).unwrap();
    let twin = TestNode::start(&other.name).await;
    let refused = head.admit(twin.id(), twin.member()).await.unwrap_err();
    assert!(refused.to_string().contains("alive"), "{refused}");
    let refused = twin.ask_to_join(std::slice::from_ref(&head.address)).await.unwrap_err();
    assert!(refused.to_string().contains("alive"), "{refused}");
    let nameless = head.admit(7, member("", "127.0.0.1:1")).await;
    assert!(matches!(nameless, Err(ChangeError::Refused(_))));
    assert_eq!(head.members().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_asks_a_follower_finds_the_leader() {
    let nodes = cluster(&["c1", "c2"]).await;
    let head = leader(&nodes).await;
    let follower = nodes.iter().find(|node| node.id() != head.id()).unwrap();
    let newcomer = TestNode::start("c3").await;
    newcomer.ask_to_join(std::slice::from_ref(&follower.address)).await.unwrap();
    assert!(head.members().iter().any(|status| status.node == newcomer.id() && status.voter));
    let alone = TestNode::start("c4").await;
    let words = alone.ask_to_join(&["127.0.0.1:1".into()]).await.unwrap_err().to_string();
    assert!(words.contains("127.0.0.1:1"), "{words}");
    let words = alone.ask_to_join(&[]).await.unwrap_err().to_string();
    assert!(words.contains("none is known"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_moved_is_found_at_its_new_address() {
    let mut nodes = cluster(&["c1", "c2"]).await;
    let lead = leader(&nodes).await.id();
    let at = nodes.iter().position(|node| node.id() != lead).unwrap();
    let mut moved = nodes.remove(at);
    // A third keeps the quorum while one is away.
    let third = TestNode::start("c3").await;
    third.ask_to_join(&[nodes[0].address.clone()]).await.unwrap();
    moved.stop().await;
    moved.move_house();
    moved.run().await;
    eventually("the new address", || async {
        moved.ask_to_join(&[nodes[0].address.clone(), third.address.clone()]).await.ok()
    })
    .await;
    commit(&[&nodes[0], &third], 1).await;
    sees(&moved, 1..=1).await;
}
