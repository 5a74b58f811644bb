//! A join request: how it is signed, and how it is checked.
//!
//! Both signatures cover the asked node's id, so that no node can use a request at another.
//!
//! Start at:  `sign`.

use crate::secret::{Domain, SecretKey, is_signed, node_id};
use crate::token::Token;
use protocol::peer::admission::{JoinRequest, MachineId, Right};
use protocol::peer::capped::Capped;
use protocol::peer::{PublicKey, SessionKey, Signature};
use protocol::{Name, NodeId};

/// Who wants to join, and where.
#[derive(Debug, Clone)]
pub struct Applicant {
    pub site: Name,
    pub name: Name,
    pub machine: MachineId,
    pub token: Option<Token>,
}

/// What the signatures cover.
fn transcript(
    asked: NodeId,
    ask: u64,
    keys: (&PublicKey, &SessionKey),
    who: (&Name, &Name, MachineId),
) -> Vec<u8> {
    let (site, name, machine) = who;
    let mut bytes = asked.bytes().to_vec();
    bytes.extend(ask.to_be_bytes());
    bytes.extend(keys.0.0);
    bytes.extend(keys.1.0);
    bytes.extend(machine.0);
    for text in [site.as_str(), name.as_str()] {
        bytes.extend(text.as_bytes());
        bytes.push(0); // which no name contains
    }
    bytes
}

/// The request of `applicant` to the node `asked`.
pub(crate) fn sign(
    applicant: &Applicant,
    secret: &SecretKey,
    asked: NodeId,
    ask: u64,
) -> JoinRequest {
    let (node, session) = (secret.public(), secret.session().public());
    let who = (&applicant.site, &applicant.name, applicant.machine);
    let bytes = transcript(asked, ask, (&node, &session), who);
    let right = match &applicant.token {
        None => Right::Known,
        Some(token) => {
            let succession = token.succession().map(|one| one.encode());
            Right::Token {
                grant: Capped::new(token.grant().encode()).unwrap_or_default(),
                succession: Capped::new(succession.unwrap_or_default()).unwrap_or_default(),
                proof: token.secret().sign(Domain::Join, &bytes),
            }
        }
    };
    JoinRequest {
        ask,
        node,
        session,
        site: applicant.site.clone(),
        name: applicant.name.clone(),
        machine: applicant.machine,
        right,
        proof: secret.sign(Domain::Join, &bytes),
    }
}

/// Whether the node `from` itself wrote this request, to us.
pub(crate) fn is_genuine(request: &JoinRequest, from: NodeId, us: NodeId) -> bool {
    node_id(&request.node) == from
        && is_signed(
            Domain::Join,
            &request.node,
            &bytes_of(request, us),
            &request.proof,
        )
}

/// Whether whoever holds this token's secret agrees.
pub(crate) fn has_secret(
    request: &JoinRequest,
    token: &PublicKey,
    proof: &Signature,
    us: NodeId,
) -> bool {
    is_signed(Domain::Join, token, &bytes_of(request, us), proof)
}

fn bytes_of(request: &JoinRequest, us: NodeId) -> Vec<u8> {
    let who = (&request.site, &request.name, request.machine);
    transcript(us, request.ask, (&request.node, &request.session), who)
}
