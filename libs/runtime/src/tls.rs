//! TLS to stores: whose certificates count, and what to tell an operator about one that does not.
//!
//! In: a store's URL and the file of a CA; an error of a store's client. Out: the URL in the words of that client; the end of
//! a sentence. Never: a connection that looks checked and is not.
use std::{borrow::Cow, error::Error, io, path::Path, sync::Arc};

use rustls::{
    CertificateError, Error as TlsError, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use url::form_urlencoded;

/// A URL as its client understands it, with a CA that counts where the URL names none of its own. An error says what to
/// write instead, without the URL.
///
/// Whether there is TLS at all says the URL: `rediss://`, `tls=true` for MongoDB; PostgreSQL's client takes what the server
/// offers and checks nothing, unless `sslmode` says otherwise or there is a CA to check by.
pub fn trusting(url: &str, ca: Option<&Path>) -> Result<String, String> {
    let said = |names: &[&str]| parameter(url, names);
    let is_true = |names: &[&str]| said(names).is_some_and(|value| value == "true");
    let mut added = Vec::new();
    let own = match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => {
            let own = said(&["sslrootcert", "ssl-root-cert", "ssl-ca"]);
            let mode = said(&["sslmode", "ssl-mode"]).map(|mode| mode.to_ascii_lowercase());
            match mode.as_deref() {
                _ if own.is_none() && ca.is_none() => return Ok(url.to_owned()),
                Some("disable") => return Ok(url.to_owned()),
                Some("verify-ca" | "verify-full") => {}
                None => added.push(("sslmode", "verify-full")),
                Some(mode) => {
                    return Err(format!(
                        "sslmode={mode} checks no certificate, although a CA is named: write sslmode=verify-full, or \
                         sslmode=disable for a connection without TLS"
                    ));
                }
            }
            ("sslrootcert", own)
        }
        Some("rediss") => ("ssl_ca_certs", said(&["ssl_ca_certs"])),
        Some("mongodb") => {
            let own = said(&["tlsCAFile"]);
            if is_true(&["tlsInsecure"]) || is_true(&["tlsAllowInvalidCertificates"]) {
                return Err("a server's certificate is always checked: name its CA in stores.tls_ca instead".to_owned());
            }
            if own.is_none() && !is_true(&["tls", "ssl"]) {
                return Ok(url.to_owned());
            }
            ("tlsCAFile", own)
        }
        _ => return Ok(url.to_owned()),
    };
    match (own, ca.and_then(Path::to_str)) {
        ((_, Some(file)), _) => check(Path::new(&*file))?,
        ((name, None), Some(file)) => added.push((name, file)),
        ((_, None), None) => {}
    }
    Ok(added.into_iter().fold(url.to_owned(), |url, (name, value)| with(url, name, value)))
}

/// The value of a parameter of a URL, by any of its names. By hand: several hosts with ports, as MongoDB takes them, are no
/// URL to a parser.
pub fn parameter<'a>(url: &'a str, names: &[&str]) -> Option<Cow<'a, str>> {
    let query = url.split_once('?')?.1;
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name))).map(|(_, value)| value)
}

fn with(mut url: String, name: &str, value: &str) -> String {
    // Not every client reads a plus as a space.
    let value = form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20");
    let end = url.find('#').unwrap_or(url.len());
    let separator = if url[..end].contains('?') { '&' } else { '?' };
    url.insert_str(end, &format!("{separator}{name}={value}"));
    url
}

/// Finds at least one certificate in a file, and nothing that could not vouch for another.
pub fn check(file: &Path) -> Result<(), String> {
    let shown = file.display();
    let bad = |why: &dyn std::fmt::Display| format!("{shown} is not a PEM file of CA certificates: {why}");
    let certificates = CertificateDer::pem_file_iter(file).map_err(|e| format!("cannot read {shown}: {e}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
    }
    if roots.is_empty() { Err(bad(&"there is none in it")) } else { Ok(()) }
}

/// The end of a sentence that begins with the server's name, if TLS is why it cannot be used. `setting` holds its URL.
pub fn explain(error: &(dyn Error + 'static), setting: &str) -> Option<String> {
    Some(match cause(error)? {
        TlsError::InvalidCertificate(why) => match why {
            // The other is one of the same name and another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "shows a certificate of a CA that is not trusted here; name the file of that CA in stores.tls_ca"
                    .to_owned()
            }
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "shows a certificate for {}, not for {}; mend the host in {setting}, or the certificate",
                if presented.is_empty() {
                    "no name".to_owned()
                } else {
                    presented.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ")
                },
                expected.to_str(),
            ),
            CertificateError::NotValidForName => {
                format!("shows a certificate for another host; mend the host in {setting}, or the certificate")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "shows a certificate that has expired; renew it there".to_owned()
            }
            why => format!("shows a certificate that cannot be used ({why})"),
        },
        TlsError::InvalidMessage(_) => format!("does not speak TLS on that port; mend {setting}"),
        TlsError::AlertReceived(alert) => {
            format!("ends TLS ({alert:?}); if it asks for a certificate of ours, name one in {setting}")
        }
        other => format!("cannot be reached by TLS ({other})"),
    })
}

/// `db.example` of `DnsName("db.example")`.
fn plain(name: &str) -> &str {
    let held = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    held.map_or(name, |held| held.trim_matches('"'))
}

/// The error of TLS in a chain of errors.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<TlsError>() {
            return Some(found);
        }
        // Both answer for what they hold when they are asked for their source, and so hide it.
        let held =
            error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map(|held| held as &(dyn Error + 'static));
        let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>().map(|held| &**held as &(dyn Error + 'static));
        next = held.or(shared).or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_is_added_in_the_words_of_each_client() {
        let ca = Path::new("/etc/ca +1.pem");
        for (url, with_ca) in [
            ("postgres://u:p@h/db", "postgres://u:p@h/db?sslmode=verify-full&sslrootcert=%2Fetc%2Fca%20%2B1.pem"),
            (
                "postgres://h/db?sslmode=verify-ca&x=y",
                "postgres://h/db?sslmode=verify-ca&x=y&sslrootcert=%2Fetc%2Fca%20%2B1.pem",
            ),
            ("postgres://h/db?sslmode=disable", "postgres://h/db?sslmode=disable"),
            ("rediss://h:1/0", "rediss://h:1/0?ssl_ca_certs=%2Fetc%2Fca%20%2B1.pem"),
            ("redis://h:1/0", "redis://h:1/0"),
            ("mongodb://a:1,b:2/db?TLS=true", "mongodb://a:1,b:2/db?TLS=true&tlsCAFile=%2Fetc%2Fca%20%2B1.pem"),
            ("mongodb://a:1,b:2/db", "mongodb://a:1,b:2/db"),
            ("kafka://h:1", "kafka://h:1"),
        ] {
            assert_eq!(trusting(url, Some(ca)).as_deref(), Ok(with_ca));
            assert_eq!(trusting(url, None).as_deref(), Ok(url), "nothing is added without a CA");
        }
    }

    #[test]
    fn what_would_not_be_checked_is_refused() {
        let ca = Some(Path::new("/etc/ca.pem"));
        for mode in ["prefer", "require", "allow"] {
            let url = format!("postgres://h/db?sslmode={mode}");
            assert!(trusting(&url, ca).expect_err(mode).contains("write sslmode=verify-full"));
            assert_eq!(trusting(&url, None).as_deref(), Ok(&*url), "as PostgreSQL's clients have it");
            let own = format!("{url}&sslrootcert=/etc/ca.pem");
            assert!(trusting(&own, None).expect_err(mode).contains("write sslmode=verify-full"));
        }
        for url in ["mongodb://h/?tls=true&tlsInsecure=true", "mongodb://h/?tlsAllowInvalidCertificates=true"] {
            assert!(trusting(url, None).expect_err(url).contains("stores.tls_ca"));
        }
        for url in
            ["rediss://h?ssl_ca_certs=/no/file", "mongodb://h/?tlsCAFile=/no/file", "postgres://h/d?ssl-ca=/no/file"]
        {
            assert!(trusting(url, None).expect_err(url).contains("cannot read /no/file"));
        }
    }

    #[test]
    fn an_error_of_tls_is_found_in_what_holds_it() {
        let why = || TlsError::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let held = || io::Error::new(io::ErrorKind::InvalidData, why());
        let says = Some("does not speak TLS on that port; mend stores.x".to_owned());
        let shared: Arc<dyn Error + Send + Sync> = Arc::new(held());
        assert_eq!(explain(&why(), "stores.x"), says);
        assert_eq!(explain(&held(), "stores.x"), says);
        assert_eq!(explain(&shared, "stores.x"), says);
        assert_eq!(explain(&io::Error::from(io::ErrorKind::ConnectionRefused), "stores.x"), None);
    }

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        for (text, says) in [
            ("", "there is none in it"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is not a PEM file of CA certificates"),
        ] {
            std::fs::write(&file, text).expect("writes");
            assert!(check(&file).expect_err("refused").contains(says));
        }
    }
}
