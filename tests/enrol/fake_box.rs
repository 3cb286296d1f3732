//! A box that speaks the contract, with keys of its own: what a real one says, byte for byte, and whatever else a test wants.
#![allow(dead_code)] // each test uses its part

use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use platen::enroll::LabelSecret;
use platen::proto::signed;
use platen::proto::v1::agent_client::AgentClient;
use platen::proto::v1::start_enrollment_request::Way;
use platen::proto::v1::{self, EnrollmentState};
use platen::uplink::CloudKey;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// A connection's calls.
pub type Client = AgentClient<Channel>;

/// Where the cloud is, and what a box pins of it.
#[derive(Clone)]
pub struct Cloud {
    pub address: SocketAddr,
    pub pinned_pem: String,
}

/// A box.
pub struct FakeBox {
    pub cloud: Cloud,
    bound: Ed25519KeyPair,
    pub serial: String,
    /// Of its next certificate.
    pub next_key: rcgen::KeyPair,
    pub nonce: Vec<u8>,
    pub enrollment: Vec<u8>,
    pub count: u64,
    pub holds: Option<Holds>,
    pub contact: u64,
    pub boot_id: String,
}

/// A certificate that a box has, and its key.
pub struct Holds {
    pub enrolled: v1::Enrolled,
    key_der: Vec<u8>,
}

fn random() -> Vec<u8> {
    platen::sys::random_bytes::<32>().to_vec()
}

/// Connects, with a certificate or without.
pub async fn connect(cloud: &Cloud, holds: Option<&Holds>) -> Result<Client, tonic::transport::Error> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(cloud.pinned_pem.as_bytes()) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match holds {
        None => builder.with_no_client_auth(),
        Some(holds) => {
            let chain = holds.enrolled.certificate_chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::try_from(holds.key_der.clone()).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, address) = (tokio_rustls::TlsConnector::from(Arc::new(config)), cloud.address);
    let dial = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let connector = connector.clone();
        async move {
            let tcp = tokio::net::TcpStream::connect(address).await?;
            let tls = connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(tls))
        }
    });
    let channel = tonic::transport::Endpoint::from_static("http://localhost").connect_with_connector(dial).await?;
    Ok(AgentClient::new(channel))
}

impl FakeBox {
    pub fn new(cloud: &Cloud, serial: &str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        Self {
            cloud: cloud.clone(),
            bound: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap(),
            serial: serial.to_owned(),
            next_key: rcgen::KeyPair::generate().unwrap(),
            nonce: Vec::new(),
            enrollment: Vec::new(),
            count: 0,
            holds: None,
            contact: 0,
            boot_id: "boot-1".to_owned(),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.bound.sign(message).as_ref().to_vec()
    }

    pub fn bound_key(&self) -> Vec<u8> {
        self.bound.public_key().as_ref().to_vec()
    }

    pub fn csr(&self) -> Vec<u8> {
        let parameters = rcgen::CertificateParams::default();
        parameters.serialize_request(&self.next_key).unwrap().der().to_vec()
    }

    /// A request with a new nonce; `label` holds the button.
    pub fn request(&mut self, way: Way) -> v1::StartEnrollmentRequest {
        let (nonce, csr) = (random(), self.csr());
        self.nonce = nonce.clone();
        self.sealed(nonce, csr, way)
    }

    pub fn sealed(&self, nonce: Vec<u8>, csr: Vec<u8>, way: Way) -> v1::StartEnrollmentRequest {
        let signature = self.sign(&signed::enrol(&nonce, &csr, &self.serial, &way));
        v1::StartEnrollmentRequest {
            bound_key: self.bound_key(),
            serial: self.serial.clone(),
            model: "raspberrypi4-64".to_owned(),
            firmware_version: "0.1.0".to_owned(),
            csr,
            nonce,
            way: Some(way),
            signature,
        }
    }

    /// The request of a box whose button is held.
    pub fn held(&mut self, label: &LabelSecret) -> v1::StartEnrollmentRequest {
        let (nonce, csr) = (random(), self.csr());
        self.nonce = nonce.clone();
        let label_proof = label.prove(&signed::label(&nonce, &csr, &self.bound_key()));
        self.sealed(nonce, csr, Way::ButtonHeld(v1::ButtonHeld { label_proof }))
    }

    pub async fn start(&mut self, request: v1::StartEnrollmentRequest) -> Result<v1::StartEnrollmentReply, Status> {
        let reply = connect(&self.cloud, None).await.unwrap().start_enrollment(request).await?.into_inner();
        (self.enrollment, self.count) = (reply.enrollment.clone(), 0);
        Ok(reply)
    }

    pub async fn show_code(&mut self) -> v1::StartEnrollmentReply {
        let request = self.request(Way::ShowCode(v1::ShowCode {}));
        self.start(request).await.unwrap()
    }

    pub async fn hold(&mut self, label: &LabelSecret) -> v1::StartEnrollmentReply {
        let request = self.held(label);
        self.start(request).await.unwrap()
    }

    pub async fn register(&mut self, code: &str) -> v1::PollEnrollmentReply {
        let code = code.replace('-', "");
        let request = self.request(Way::RegistrationCode(v1::RegistrationCode { code }));
        self.start(request).await.unwrap();
        self.ask().await
    }

    pub fn poll_request(&mut self) -> v1::PollEnrollmentRequest {
        self.count += 1;
        let signature = self.sign(&signed::enrol_poll(&self.enrollment, self.count));
        v1::PollEnrollmentRequest { enrollment: self.enrollment.clone(), count: self.count, signature }
    }

    /// What became of the enrolment.
    pub async fn ask(&mut self) -> v1::PollEnrollmentReply {
        let request = self.poll_request();
        connect(&self.cloud, None).await.unwrap().poll_enrollment(request).await.unwrap().into_inner()
    }

    pub async fn ask_state(&mut self) -> EnrollmentState {
        self.ask().await.state()
    }

    pub async fn press(&self) -> Result<(), Status> {
        let request = v1::ConfirmPresenceRequest {
            enrollment: self.enrollment.clone(),
            signature: self.sign(&signed::presence(&self.enrollment)),
        };
        connect(&self.cloud, None).await.unwrap().confirm_presence(request).await.map(drop)
    }

    /// Looks at what it gets as a box does, and keeps it with the key that it was made for.
    pub fn take(&self, enrolled: v1::Enrolled) -> Holds {
        let key = CloudKey::in_roots(&self.cloud.pinned_pem.clone().into_bytes()).unwrap();
        assert!(key.has_signed(&signed::enrolled(&self.nonce, &enrolled), &enrolled.signature));
        Holds { enrolled, key_der: self.next_key.serialize_der() }
    }

    /// Enrols to the end by the code.
    pub async fn enrol(&mut self, running: &platen::cloud::RunningCloud, name: &str, site: &str) -> String {
        let code = self.show_code().await.user_code;
        running.approve(&code, name, site).await.unwrap();
        self.press().await.unwrap();
        let reply = self.ask().await;
        let holds = self.take(reply.enrolled.expect("it is enrolled"));
        let id = holds.enrolled.box_id.clone();
        self.holds = Some(holds);
        id
    }

    /// A poll by a certificate.
    pub async fn poll_with(&mut self, holds: &Holds) -> Result<v1::PollReply, Status> {
        self.contact += 1;
        let request = self.poll_as(holds.enrolled.generation);
        connect(&self.cloud, Some(holds)).await.unwrap().poll(request).await.map(tonic::Response::into_inner)
    }

    pub fn poll_as(&self, generation: u32) -> v1::PollRequest {
        let status = v1::BoxStatus {
            boot_id: self.boot_id.clone(),
            uptime_ms: self.contact * 1_000,
            outbox_epoch: 7,
            ..v1::BoxStatus::default()
        };
        let contact = v1::Contact { generation, counter: self.contact };
        v1::PollRequest { status: Some(status), contact: Some(contact), ..v1::PollRequest::default() }
    }

    pub async fn poll(&mut self) -> Result<v1::PollReply, Status> {
        let holds = self.holds.take().unwrap();
        let reply = self.poll_with(&holds).await;
        self.holds = Some(holds);
        reply
    }

    /// A new certificate by the old one.
    pub async fn renew(&mut self) -> Result<Holds, Status> {
        self.next_key = rcgen::KeyPair::generate().unwrap();
        let (nonce, csr) = (random(), self.csr());
        self.nonce = nonce.clone();
        let signature = self.sign(&signed::renew(&nonce, &csr));
        let request = v1::RenewCertificateRequest { csr, nonce, signature };
        let mut client = connect(&self.cloud, self.holds.as_ref()).await.unwrap();
        let reply = client.renew_certificate(request).await?.into_inner();
        Ok(self.take(reply.enrolled.unwrap()))
    }

    /// Asks to come back, without a certificate.
    pub async fn recover(&mut self, generation: u32, wants_certificate: bool) -> v1::RecoverReply {
        let box_id = self.holds.as_ref().unwrap().enrolled.box_id.clone();
        let csr = if wants_certificate {
            self.next_key = rcgen::KeyPair::generate().unwrap();
            self.csr()
        } else {
            Vec::new()
        };
        self.nonce = random();
        let nonce = self.nonce.clone();
        let signature = self.sign(&signed::recover(&nonce, generation, &box_id, &csr));
        let request = v1::RecoverRequest { box_id, generation, nonce, csr, signature };
        connect(&self.cloud, None).await.unwrap().recover(request).await.unwrap().into_inner()
    }

    pub async fn leave(&self, pending: u64) {
        let mut client = connect(&self.cloud, self.holds.as_ref()).await.unwrap();
        client.leave(v1::LeaveRequest { pending }).await.unwrap();
    }
}

/// Whether a status is a refusal that counts: with the proof that it is this cloud's.
pub fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied)
        && platen::proto::rich_status::read(status.details()).auth_reject.is_some()
}
