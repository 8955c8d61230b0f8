//! Who may speak to the consensus: coordinators, each under its own name.

use crate::consensus::{Caller, PeerService};
use certs::{Allow, require};
use proto::v1::peer_server::PeerServer;
use tonic::{Request, Status, service::interceptor::InterceptedService};

/// Lets coordinators through, and tells the service who they are.
#[derive(Debug, Clone, Copy)]
pub struct Check;

impl tonic::service::Interceptor for Check {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let peer = require(&request, "the coordinators' own service", &[Allow::Coordinators])?;
        let name = peer.identity.name().to_owned();
        request.extensions_mut().insert(Caller { name });
        Ok(request)
    }
}

/// The consensus service behind the check.
#[must_use]
pub fn service(
    server: PeerServer<PeerService>,
) -> InterceptedService<PeerServer<PeerService>, Check> {
    InterceptedService::new(server, Check)
}
