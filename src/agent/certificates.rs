//! A new certificate for a box at work: asked for with the old one, or, where that has ended, without one.

use prost::Message as _;

use crate::enroll::{BoundKey, Credential, IdentityFolder};
use crate::proto::signed::{self, NONCE_BYTES};
use crate::proto::v1;
use crate::sys::{Entropy, SystemEntropy};
use crate::uplink::{Cloud, CloudKey, Session};

/// What it needs.
pub(super) struct Certificates<L> {
    pub identity: IdentityFolder,
    /// The cloud, over TLS without a certificate.
    pub stranger: L,
    pub cloud_key: Option<CloudKey>,
}

impl<L: Cloud> Certificates<L> {
    /// Asks with the certificate in use.
    pub(super) async fn renew(&self, session: &mut impl Session) -> Result<Credential, String> {
        let (csr, key) = IdentityFolder::new_request().map_err(|e| e.to_string())?;
        let nonce = nonce()?;
        let signature = self.bound()?.sign(&signed::renew(&nonce, &csr));
        let request = v1::RenewCertificateRequest { csr, nonce: nonce.clone(), signature };
        let reply = session.renew_certificate(request).await.map_err(|e| e.to_string())?;
        let enrolled = reply.enrolled.ok_or("the cloud has sent no certificate")?;
        self.taken(&enrolled, &nonce, key)
    }

    /// Asks without one.
    pub(super) async fn recover(&self, box_id: &str, generation: u32) -> Result<Credential, String> {
        let (csr, key) = IdentityFolder::new_request().map_err(|e| e.to_string())?;
        let nonce = nonce()?;
        let request = self.request(box_id, generation, &nonce, csr)?;
        let reply = self.stranger.recover(request).await.map_err(|e| e.to_string())?;
        match reply.enrolled {
            Some(enrolled) => self.taken(&enrolled, &nonce, key),
            None => Err(crate::cause::Trouble::new(v1::Cause::Refused, &reply.message).to_string()),
        }
    }

    /// The question whether a disabled box is enabled again, or, with a request, for a certificate.
    pub(super) fn request(
        &self,
        box_id: &str,
        generation: u32,
        nonce: &[u8],
        csr: Vec<u8>,
    ) -> Result<v1::RecoverRequest, String> {
        let signature = self.bound()?.sign(&signed::recover(nonce, generation, box_id, &csr));
        Ok(v1::RecoverRequest { box_id: box_id.to_owned(), generation, nonce: nonce.to_vec(), csr, signature })
    }

    /// Whether the cloud itself releases this box.
    pub(super) fn is_release(&self, release: &v1::Decommission, generation: u32, box_id: &str) -> bool {
        let is_signed = self
            .cloud_key
            .is_some_and(|key| key.has_signed(&signed::decommission(generation, box_id), &release.signature));
        if !is_signed {
            tracing::error!(
                bytes = release.encoded_len(),
                "a release that our cloud has not signed for this box is not obeyed"
            );
        }
        is_signed
    }

    fn bound(&self) -> Result<BoundKey, String> {
        self.identity.bound_key().map_err(|e| e.to_string())?.ok_or_else(|| "the box has no bound key".to_owned())
    }

    fn taken(
        &self,
        enrolled: &v1::Enrolled,
        nonce: &[u8],
        key: crate::enroll::OperationalKey,
    ) -> Result<Credential, String> {
        let cloud_key = self.cloud_key.ok_or("no signing key of the cloud is pinned")?;
        let current = self.identity.current().map_err(|e| e.to_string())?;
        Credential::from_enrolled(enrolled, nonce, key, &cloud_key, current.as_ref()).map_err(|e| e.to_string())
    }
}

fn nonce() -> Result<Vec<u8>, String> {
    SystemEntropy.bytes(NONCE_BYTES).map_err(|e| e.to_string())
}
