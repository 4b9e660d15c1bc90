//! A certificate authority of a test's own, and an end of TLS before a server that has none.
//!
//! In: the names of hosts. Out: files as servers and clients take them. Never: a certificate that anybody else trusts.
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use uuid::Uuid;

/// A CA. Its files end with it.
pub struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM files.
pub struct Certificate {
    /// The certificate.
    pub file: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Authority {
    /// A new one, which nobody knows.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(&format!("CA {}", Uuid::new_v4()), []);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).expect("signs itself");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).expect("writes");
        Authority { folder, issuer: Issuer::new(params, key) }
    }

    /// What a client needs to trust it, as `stores.tls_ca` takes it.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for a host.
    pub fn certificate(&self, host: &str) -> Certificate {
        self.sign(host, &params(host, [host.to_owned()]))
    }

    /// One that was good once.
    pub fn expired(&self, host: &str) -> Certificate {
        let mut params = params(host, [host.to_owned()]);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.sign("expired", &params)
    }

    fn sign(&self, name: &str, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        let write = |ending: &str, text: String| {
            let file = self.folder.path().join(format!("{name}.{ending}"));
            std::fs::write(&file, text).expect("writes");
            file
        };
        Certificate { file: write("pem", certificate.pem()), key: write("key", key.serialize_pem()) }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// With a name of its own: whoever is called like its issuer would pass for the issuer.
fn params<const N: usize>(name: &str, hosts: [String; N]) -> CertificateParams {
    let mut params = CertificateParams::new(hosts).expect("names of hosts");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Takes TLS off and leads to a server that has none, as a proxy beside it does.
pub struct TlsDoor {
    /// Where clients connect, on loopback.
    pub port: u16,
    task: JoinHandle<()>,
}

impl TlsDoor {
    /// Opens one that shows a certificate.
    pub async fn to(server: SocketAddr, certificate: &Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = acceptor(&certificate.file, &certificate.key);
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                open.spawn(async move {
                    // A client that trusts nobody here ends it: the test is about that.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(server).await.expect("the server behind the door");
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        TlsDoor { port, task }
    }
}

impl Drop for TlsDoor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let chain = CertificateDer::from_pem_file(certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("they belong together");
    Arc::new(config).into()
}
