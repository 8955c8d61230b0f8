//! `enroll` against an enrolment service of the test's own.

use crate::{
    bench::{AGENT, Bench, DAY},
    coordinator::until,
};
use agent::{
    config::Config,
    coordinators,
    enroll::{EnrollError, enroll},
};
use certs::{Authority, Identity, JoinRole, Limits, Role, Store, Token, Trust};
use daemon::config::Source;
use model::{HostId, Wall};
use proto::v1::{
    EnrolReply, EnrolRequest,
    enrolment_server::{Enrolment, EnrolmentServer},
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// Enrols whoever has the secret; loses its first answers.
struct Desk {
    authority: Authority,
    secret: [u8; 32],
    lose: Mutex<u32>,
    keys: Arc<Mutex<Vec<Vec<u8>>>>,
}

#[tonic::async_trait]
impl Enrolment for Desk {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolReply>, Status> {
        let joining = certs::joining(&request)?.clone();
        let request = request.into_inner();
        if !certs::secret_matches(&request.secret, &self.secret) {
            return Err(Status::permission_denied("this token was used by another key"));
        }
        joining.check_request(&request.request)?;
        self.keys.lock().unwrap().push(joining.public_key);
        let identity = Identity::new("bench", Role::Agent, &request.host).unwrap();
        let issued = self.authority.issue(&request.request, &identity, DAY, certs::now()).unwrap();
        let mut lose = self.lose.lock().unwrap();
        if *lose > 0 {
            *lose -= 1;
            return Err(Status::unavailable("the answer was lost on the way"));
        }
        Ok(Response::new(EnrolReply {
            identity: issued.cert_pem,
            authority: self.authority.certificate_pem().into(),
            coordinators: vec!["192.0.2.1:7443".into(), "192.0.2.2:7443".into()],
            serial: issued.serial,
            ..EnrolReply::default()
        }))
    }
}

struct Desks {
    address: SocketAddr,
    token: Token,
    keys: Arc<Mutex<Vec<Vec<u8>>>>,
}

async fn desk(bench: &Bench, lose: u32, role: JoinRole) -> Desks {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let trust = Trust::load(bench.pki()).unwrap();
    // Nobody listens on the first one.
    let addresses = vec!["127.0.0.1:9".into(), address.to_string()];
    let ends = Wall(certs::now().0 + 60_000);
    let host = HostId::new("p1").unwrap();
    let token = Token::create(host, role, bench.authority.fingerprint(), addresses, ends).unwrap();
    bench.authority.save(&bench.dir.path().join("copy")).unwrap();
    let keys = Arc::default();
    let desk = Desk {
        authority: Authority::load(&bench.dir.path().join("copy")).unwrap(),
        secret: token.secret_hash(),
        lose: Mutex::new(lose),
        keys: Arc::clone(&keys),
    };
    let incoming = certs::enrol_listen(listener, &trust, Limits::default(), std::future::pending());
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(EnrolmentServer::new(desk))
            .serve_with_incoming(incoming),
    );
    Desks { address, token, keys }
}

fn config(bench: &Bench) -> Config {
    Config::of(&Source::new("agent.toml", bench.toml(""))).unwrap()
}

/// A bench whose agent has no credentials yet.
fn fresh() -> Bench {
    let bench = Bench::new();
    std::fs::remove_dir_all(bench.state()).unwrap();
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_repaired_by_the_same_token_and_key() {
    let bench = fresh();
    let desks = desk(&bench, 1, JoinRole::Agent).await;
    let (config, token) = (config(&bench), desks.token.print());
    let error = enroll(&config, &token).await.unwrap_err().to_string();
    assert!(error.contains("lost on the way") && error.contains("127.0.0.1:9"), "{error}");
    assert!(!Store::at(config.pki()).is_enrolled());
    let enrolled = enroll(&config, &token).await.unwrap();
    assert_eq!(enrolled.coordinators.len(), 2);
    assert_eq!(coordinators::load(&bench.state()).unwrap(), enrolled.coordinators);
    let keys = desks.keys.lock().unwrap().clone();
    assert_eq!((keys.len(), keys[0] == keys[1]), (2, true), "the key was made twice");
    let trust = Trust::load(config.pki()).unwrap();
    assert_eq!((trust.identity().name(), trust.identity().role()), ("p1", Role::Agent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_refused_before_anything_is_stored() {
    let bench = fresh();
    let desks = desk(&bench, 0, JoinRole::Witness).await;
    let error = enroll(&config(&bench), &desks.token.print()).await.unwrap_err();
    assert!(matches!(error, EnrollError::Role { .. }), "{error}");
    let token = |host: &str, authority| {
        let host = HostId::new(host).unwrap();
        let ends = Wall(certs::now().0 + 60_000);
        let to = vec![desks.address.to_string()];
        Token::create(host, JoinRole::Agent, authority, to, ends).unwrap().print()
    };
    let ours = bench.authority.fingerprint();
    let error = enroll(&config(&bench), &token("s1", ours)).await.unwrap_err().to_string();
    assert!(error.contains("for host `s1`") && error.contains("--host p1"), "{error}");
    assert!(!bench.state().exists());
    let error = enroll(&config(&bench), &token("p1", ours)).await.unwrap_err().to_string();
    assert!(error.contains("used by another key"), "{error}");
    let other = Authority::create("other", certs::now()).unwrap().fingerprint();
    let error = enroll(&config(&bench), &token("p1", other)).await.unwrap_err();
    assert!(matches!(error, EnrollError::Connect(_)), "{error}");
    assert!(!Store::at(config(&bench).pki()).is_enrolled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_enrols_says_what_comes_next_and_never_prints_the_token() {
    let bench = fresh();
    let desks = desk(&bench, 0, JoinRole::Agent).await;
    let file = bench.dir.path().join("agent.toml");
    std::fs::write(&file, bench.toml("")).unwrap();
    let mut program = tokio::process::Command::new(AGENT);
    program.args(["enroll", "--config"]).arg(&file).args(["--token", &desks.token.print()]);
    let output = program.output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{talk}");
    assert!(said.contains("enrolled host p1") && said.contains("next: "), "{said}");
    assert!(!said.contains("ust1.") && !talk.contains("ust1."));
    until("the credentials", || Store::at(bench.state().join("pki")).load().ok()).await;
}
