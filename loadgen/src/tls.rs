//! TLS settings for rustls, from memtier's options.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::TlsFiles;

/// Where Linux distributions keep the certificates that they trust.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The settings that all connections of a run share. The error is a line for the user.
pub(crate) fn client_config(files: &TlsFiles) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: Vec<&rustls::SupportedProtocolVersion> = match files.versions {
        None => rustls::ALL_VERSIONS.to_vec(),
        Some((two, three)) => {
            let two = two.then_some(&rustls::version::TLS12);
            let three = three.then_some(&rustls::version::TLS13);
            two.into_iter().chain(three).collect()
        }
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|e| format!("--tls-protocols: {e}"))?;
    let trust = if files.skip_verify {
        Trust::Any
    } else {
        let roots = Arc::new(roots(files)?);
        let chains = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|e| format!("--cacert: {e}"))?;
        let given = match &files.cacert {
            Some(path) => certificates(path)?,
            None => Vec::new(),
        };
        Trust::Chains { chains, given }
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { trust, provider }));
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates(cert)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("--key {key}: {e}"))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| format!("--cert: {e}"))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("--cert and --key belong together".to_string()),
    };
    Ok(Arc::new(config))
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let path = match &files.cacert {
        Some(path) => path.clone(),
        None => SYSTEM_BUNDLES
            .iter()
            .find(|path| std::path::Path::new(path).exists())
            .map(|path| (*path).to_string())
            .ok_or(
                "--tls: no trusted certificates on this system; give --cacert or --tls-skip-verify",
            )?,
    };
    let (added, _) = store.add_parsable_certificates(certificates(&path)?);
    if added == 0 {
        return Err(format!("--cacert {path}: no certificate in it"));
    }
    Ok(store)
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bad = |e: rustls::pki_types::pem::Error| format!("{path}: {e}");
    CertificateDer::pem_file_iter(path)
        .map_err(bad)?
        .collect::<Result<_, _>>()
        .map_err(bad)
}

#[derive(Debug)]
enum Trust {
    /// `--tls-skip-verify`.
    Any,
    /// A certificate that `--cacert` itself holds, as OpenSSL and so memtier take it: a server's own
    /// self-signed one, which is no certificate authority's. Or a chain to one of the roots.
    Chains {
        chains: Arc<WebPkiServerVerifier>,
        given: Vec<CertificateDer<'static>>,
    },
}

/// Decides about certificates; the handshake must be signed by them in any case.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.trust {
            Trust::Any => Ok(ServerCertVerified::assertion()),
            Trust::Chains { given, .. } if given.contains(end_entity) => {
                Ok(ServerCertVerified::assertion())
            }
            Trust::Chains { chains, .. } => chains.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
