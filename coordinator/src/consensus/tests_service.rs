//! What the peer service refuses, and in which words.

use super::{
    tests::{TestNode, cluster, leader},
    *,
};
use proto::v1::{
    IntroduceRequest, JoinRequest, PeerMessage, peer_client::PeerClient, peer_server::Peer,
};
use tonic::{Code, Request, transport::Channel};

async fn client(node: &TestNode) -> PeerClient<Channel> {
    PeerClient::connect(format!("http://{}", node.address)).await.unwrap()
}

fn vote(to: u64, major: u32, minor: u32) -> PeerMessage {
    let body = br#"{"vote":{"leader_id":{"term":99,"voted_for":7},"committed":false},
        "last_log_id":null,"leadership_transfer":true}"#;
    let body = body.to_vec();
    PeerMessage { protocol_major: major, protocol_minor: minor, from: 7, to, body }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_for_another_number_or_from_another_time_are_refused() {
    let nodes = cluster(&["c1"]).await;
    let node = leader(&nodes).await;
    let term = node.leadership().borrow().term;
    let mut client = client(node).await;
    let wrong = client.vote(vote(node.id() + 1, proto::MAJOR, proto::MINOR)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::FailedPrecondition);
    assert!(wrong.message().contains("rebuilt"), "{wrong}");
    for (major, minor) in [(proto::MAJOR + 1, proto::MINOR), (proto::MAJOR, proto::MINOR + 2)] {
        let skew = client.pre_vote(vote(node.id(), major, minor)).await.unwrap_err();
        assert_eq!(skew.code(), Code::FailedPrecondition);
        assert!(skew.message().contains("upgrade the older"), "{skew}");
    }
    let mut nonsense = vote(node.id(), proto::MAJOR, proto::MINOR);
    nonsense.body = b"{}".to_vec();
    let nonsense = client.append_entries(nonsense).await.unwrap_err();
    assert_eq!(nonsense.code(), Code::InvalidArgument);
    assert_eq!(node.leadership().borrow().term, term);
    // One minor version apart is understood; a vote from no member moves nothing here
    // but the answer is the library's.
    client.vote(vote(node.id(), proto::MAJOR, proto::MINOR + 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_who_it_is() {
    let node = TestNode::start("w").await;
    let before = client(&node).await.introduce(IntroduceRequest {}).await.unwrap().into_inner();
    assert_eq!((before.node, before.member), (node.id(), false));
    assert_eq!((before.name.as_str(), before.role.as_str()), ("w", "witness"));
    assert_eq!(before.address, node.address);
    let nodes = cluster(&["c1"]).await;
    let found = client(&nodes[0]).await.introduce(IntroduceRequest {}).await.unwrap().into_inner();
    assert!(found.member);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_joins_only_under_the_name_of_its_certificate() {
    let nodes = cluster(&["c1"]).await;
    let service = PeerService(Arc::clone(&leader(&nodes).await.node));
    let asks = |name: &str, role: &str, caller: &str| {
        let mut request = Request::new(JoinRequest {
            node: 5,
            name: name.into(),
            role: role.into(),
            address: "127.0.0.1:1".into(),
        });
        request.extensions_mut().insert(Caller { name: caller.into() });
        request
    };
    for request in [asks("c2", "coordinator", "c3"), asks("c2", "king", "c2")] {
        let reply = Peer::join(&service, request).await.unwrap().into_inner();
        assert!(!reply.accepted && !reply.detail.is_empty(), "{}", reply.detail);
    }
    assert_eq!(nodes[0].members().len(), 1);
}
