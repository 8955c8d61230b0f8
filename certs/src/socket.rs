//! Socket options that every connection has: no Nagle delay, and an end to
//! waiting for acknowledgements.

use std::time::Duration;
use tokio::net::TcpStream;

/// Sets `TCP_NODELAY` and `TCP_USER_TIMEOUT` (how long sent data may stay
/// unacknowledged before the kernel gives the connection up: A4). A socket
/// that refuses either works all the same, only slower to notice a cut.
pub(crate) fn prepare(stream: &TcpStream, user_timeout: Duration) {
    let millis = u32::try_from(user_timeout.as_millis()).unwrap_or(u32::MAX);
    let timeout = rustix::net::sockopt::set_tcp_user_timeout(stream, millis);
    if let Err(error) = stream.set_nodelay(true).and(timeout.map_err(Into::into)) {
        tracing::debug!(%error, "cannot set the options of a socket");
    }
}
