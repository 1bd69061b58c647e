//! The rules of `known_hosts`, told as verdicts. What OpenSSH itself says is asked in `differential`.

use std::{fs, os::unix::fs::PermissionsExt as _};

use russh::keys::{
    Certificate, PrivateKey,
    ssh_key::{
        certificate::{Builder, CertType},
        private::Ed25519Keypair,
    },
};

use super::*;

/// An authority made by `ssh-keygen -t rsa`.
const RSA_AUTHORITY: &str = concat!(
    "ssh-rsa ",
    "AAAAB3NzaC1yc2EAAAADAQABAAABAQCuaCIcadSuL/p6/H36JtAkP+IeVTPPZrZqV/oRP3oy85nzGbuT6xiHa+06N44yaKrvJ3hP",
    "p9BYZhA7ag9s3gCGLcJWIGTH/a5CTj+qMMbQsMwrStPbZavV/qwE+x9Z71mSR9O2crCN1do5QiRk5i4xQKBpmV/LwkccX/RAdMPJ",
    "mHcQKpA6gZI6BOiP1Y0E5Oq5Ve74N/lK7dxvg3xsfvnsgXq/HwzFQzPwaAJc4ywbhkhpLLpybggcpYBblhmZxJRfuIYSlpftr6HH",
    "VdIwhGsobvWnxnQfqsbYGfV6Zv0hCL7miyNiwCpk0d4hIyw65H0E8dqbTC/mJfxzKS12Ndaf",
);

/// Signed by it with `-t rsa-sha2-512 -h -n web-1.example.com,*.prod.example.com -V always:forever`.
const RSA_SIGNED: &str = concat!(
    "ssh-ed25519-cert-v01@openssh.com ",
    "AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIISZHG1mZnyWMKINwryAYllfQK4Dxxv9vgmo8jHHLERYAAAA",
    "IAjmYs5/DL7/cL/Wr3YVSucuD6k4hjB96iemqPSHbRu4AAAAAAAAAAAAAAACAAAAA3dlYgAAACsAAAARd2ViLTEuZXhhbXBsZS5j",
    "b20AAAASKi5wcm9kLmV4YW1wbGUuY29tAAAAAAAAAAD//////////wAAAAAAAAAAAAAAAAAAARcAAAAHc3NoLXJzYQAAAAMBAAEA",
    "AAEBAK5oIhxp1K4v+nr8ffom0CQ/4h5VM89mtmpX+hE/ejLzmfMZu5PrGIdr7To3jjJoqu8neE+n0FhmEDtqD2zeAIYtwlYgZMf9",
    "rkJOP6owxtCwzCtK09tlq9X+rAT7H1nvWZJH07ZysI3V2jlCJGTmLjFAoGmZX8vCRxxf9EB0w8mYdxAqkDqBkjoE6I/VjQTk6rlV",
    "7vg3+Urt3G+DfGx++eyBer8fDMVDM/BoAlzjLBuGSGksunJuCBylgFuWGZnElF+4hhKWl+2vocdV0jCEayhu9afGdB+qxtgZ9Xpm",
    "/SEIvuaLI2LAKmTR3iEjLDrkfQTx2ptML+Yl/HMpLXY11p8AAAEUAAAADHJzYS1zaGEyLTUxMgAAAQAKLJPtgXepU/Bju3PUuSPE",
    "YmgtkGXqalLmA2K5rEtE4w3N4toMSzU00qPwYG87zK3Z7LZ4gPVcPCdemfWI+mG+Rmy+svVcPjQ/bEHs+DFIWPplskDbbFB7eg7t",
    "+6ExsSlt1LdZKpfmdASMe2VSsaLsR9wh10ftE4eDrUFM+yTl+4ohkWU8sHlklKtXeS+WaUNzhhg4kg9Id3jLpC/dbLkAhxA4M61j",
    "X1DEiejSH8FuWv1kIUoyc1sEjNMpPWqxRpuZtCyybpSh6y0PZ1Y5Xnjb9zQnk9bJj4dSxBLXj5O5FeezAZEwhebnDeodo+Rl1d9w",
    "VJFv+I5TibVC/Ek3ddOb",
);

/// Signed by it with SHA-1, for `web-1.example.com`.
const SHA1_SIGNED: &str = concat!(
    "ecdsa-sha2-nistp256-cert-v01@openssh.com ",
    "AAAAKGVjZHNhLXNoYTItbmlzdHAyNTYtY2VydC12MDFAb3BlbnNzaC5jb20AAAAg3EjCJ8D5l8dmFBa9bXJSYrX3vfjAH7dPqMlU",
    "l/CgkhAAAAAIbmlzdHAyNTYAAABBBMTvEjYFN4dOm7FvCmVUST8xO/Hod/kR0jxfEToZa/pCq0b6oWgXIe7/xLDj0Jsi+K6FyrvE",
    "a8/oEhS5V1BVqvUAAAAAAAAAAAAAAAIAAAADd2ViAAAAFQAAABF3ZWItMS5leGFtcGxlLmNvbQAAAAAAAAAA//////////8AAAAA",
    "AAAAAAAAAAAAAAEXAAAAB3NzaC1yc2EAAAADAQABAAABAQCuaCIcadSuL/p6/H36JtAkP+IeVTPPZrZqV/oRP3oy85nzGbuT6xiH",
    "a+06N44yaKrvJ3hPp9BYZhA7ag9s3gCGLcJWIGTH/a5CTj+qMMbQsMwrStPbZavV/qwE+x9Z71mSR9O2crCN1do5QiRk5i4xQKBp",
    "mV/LwkccX/RAdMPJmHcQKpA6gZI6BOiP1Y0E5Oq5Ve74N/lK7dxvg3xsfvnsgXq/HwzFQzPwaAJc4ywbhkhpLLpybggcpYBblhmZ",
    "xJRfuIYSlpftr6HHVdIwhGsobvWnxnQfqsbYGfV6Zv0hCL7miyNiwCpk0d4hIyw65H0E8dqbTC/mJfxzKS12NdafAAABDwAAAAdz",
    "c2gtcnNhAAABAGoQ6qyelm0R82DNNGkQcTLMg48e4PQUeDx9TMw9q47E9mYfdz9KviNEkT3TeBL5t5sNJqKZfSTWMeTY0kBIfYr9",
    "x4jJY7xE80T1RouurwGYdCS97IEyJpdA5dCVlj/YUrt4JlkVYcEtVg4cZwA0XzfepsliYqg+k9tp53o1S342FW8DiWGldgYQN+jV",
    "FUWWWhQJrCcl6xOH/79R4q9QNQTAHgbsl7d25j1cn+i65NS8eT2a+ydkzFOCefXIqxak1eHZWLL0SoPHRqntDTx2MnqWWeHy7kFS",
    "yDQbfTIfXRi+4goVBlsSaUGXNVSkP0BPgYS/OVshJM7G5r+fiTeBIjI=",
);

const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBMTvEjYFN4dOm7FvCmVUST8xO/Hod/kR0jxfEToZa/pCq0b6oWgXIe7/xLDj0Jsi+K6FyrvEa8/oEhS5V1BVqvU=";

/// Returns the private key of a number: the same each time.
fn private(number: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[number; 32]))
}

pub(super) fn key(number: u8) -> PublicKey {
    private(number).public_key().clone()
}

pub(super) fn text(number: u8) -> String {
    key(number).to_openssh().unwrap()
}

pub(super) fn hashed(salt: u8, name: &str) -> String {
    use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};
    let salt = [salt; 20];
    format!("|1|{}|{}", Base64::encode_string(&salt), Base64::encode_string(&line::hash_name(&salt, name)))
}

fn known(content: impl AsRef<[u8]>) -> KnownHosts {
    let mut known = KnownHosts::default();
    known.absorb(Path::new("kh"), content.as_ref());
    known
}

fn judge(content: impl AsRef<[u8]>, host: &HostId, number: u8) -> KeyVerdict {
    known(content).judge(host, &key(number))
}

fn web() -> HostId {
    HostId::new("web-1.example.com", 22)
}

fn at(place: &str) -> KeyVerdict {
    KeyVerdict::Known { place: place.to_owned() }
}

fn revoked(place: &str) -> KeyVerdict {
    KeyVerdict::Revoked { place: place.to_owned() }
}

fn changed(number: u8, place: &str) -> KeyVerdict {
    KeyVerdict::Changed { known: fingerprint(&key(number)), place: place.to_owned() }
}

#[test]
fn s2_a_changed_key_is_refused_with_the_fingerprint_and_the_line_of_the_known_one() {
    let file = format!("# fleet\nweb-1.example.com {} root@web-1\n", text(1));
    assert_eq!(judge(&file, &web(), 1), at("kh:2"));
    assert_eq!(judge(&file, &web(), 2), changed(1, "kh:2"));
    assert_eq!(judge(&file, &HostId::new("web-2.example.com", 22), 1), KeyVerdict::Unknown);
}

#[test]
fn s2_a_key_of_another_type_for_a_known_host_is_refused_as_changed() {
    let file = format!("web-1.example.com {ECDSA}\n");
    let ecdsa: PublicKey = ECDSA.parse().unwrap();
    assert_eq!(judge(&file, &web(), 1), KeyVerdict::Changed { known: fingerprint(&ecdsa), place: "kh:1".to_owned() });
    let both = format!("web-1.example.com {ECDSA}\nweb-1.example.com {}\n", text(1));
    assert_eq!(judge(&both, &web(), 1), at("kh:2"));
    assert_eq!(judge(&both, &web(), 2), changed(1, "kh:2"), "the line of the same type is the one to look at");
}

#[test]
fn s2_the_known_key_types_are_named_first_file_first_and_without_revoked_ones() {
    let algorithms = |content: &str, host: &HostId| -> Vec<String> {
        known(content).known_algorithms(host).iter().map(ToString::to_string).collect()
    };
    let file = format!("web-1.example.com {ECDSA}\n*.example.com {}\n", text(1));
    assert_eq!(algorithms(&file, &web()), ["ecdsa-sha2-nistp256", "ssh-ed25519"]);
    assert_eq!(algorithms(&format!("{file}@revoked * {ECDSA}\n"), &web()), ["ssh-ed25519"]);
    assert_eq!(
        algorithms(&file, &HostId::new("web-1.example.com", 2222)),
        ["ecdsa-sha2-nistp256", "ssh-ed25519"],
        "a key known without the port counts where none is known with it"
    );
    assert_eq!(algorithms(&file, &HostId::new("other", 22)), [""; 0]);
}

#[test]
fn s3_a_revoked_key_is_refused_wherever_its_line_stands_and_whatever_else_is_known() {
    for file in [
        format!("web-1.example.com {0}\n@revoked * {0}\n", text(1)),
        format!("@revoked\tweb-1.example.com,other\t{0}\nweb-1.example.com {0}\n", text(1)),
    ] {
        assert!(matches!(judge(&file, &web(), 1), KeyVerdict::Revoked { .. }), "{file}");
    }
    let elsewhere = format!("web-1.example.com {0}\n@revoked db {0}\n", text(1));
    assert_eq!(judge(elsewhere, &web(), 1), at("kh:1"));
    let bare = format!("@revoked web-1.example.com {0}\n[web-1.example.com]:2222 {0}\n", text(1));
    assert_eq!(judge(bare, &HostId::new("web-1.example.com", 2222), 1), revoked("kh:1"));
}

#[test]
fn s3_a_port_stands_in_brackets_and_the_bare_name_only_adds_what_is_known() {
    let other = HostId::new("Web-1.example.com", 2222);
    assert_eq!(other.to_string(), "[web-1.example.com]:2222");
    let file = format!("[web-1.example.com]:2222 {}\nweb-1.example.com {}\n", text(1), text(2));
    assert_eq!(judge(&file, &other, 1), at("kh:1"));
    assert_eq!(judge(&file, &other, 2), changed(1, "kh:1"));
    assert_eq!(judge(&file, &web(), 2), at("kh:2"));
    let bare = format!("web-1.example.com {}\n", text(2));
    assert_eq!(judge(&bare, &other, 2), at("kh:1"));
    assert_eq!(judge(&bare, &other, 3), KeyVerdict::Unknown, "another server of the same machine");
    let alias = HostId::alias("Fleet-Web");
    assert_eq!(judge(format!("fleet-web {}\n", text(1)), &alias, 1), at("kh:1"));
}

#[test]
fn s3_hashed_names_are_found_with_and_without_a_port() {
    let file = format!(
        "{} {}\n{} {}\n",
        hashed(7, "web-1.example.com"),
        text(1),
        hashed(8, "[web-1.example.com]:2222"),
        text(2)
    );
    assert_eq!(judge(&file, &web(), 1), at("kh:1"));
    assert_eq!(judge(&file, &HostId::new("WEB-1.example.com", 2222), 2), at("kh:2"));
    assert_eq!(judge(&file, &HostId::new("web-2.example.com", 22), 1), KeyVerdict::Unknown);
}

#[test]
fn s3_bad_lines_are_skipped_with_a_warning_each_and_the_good_ones_count() {
    let file = format!(
        "web-1.example.com\nweb-1.example.com ssh-ed25519\nweb-1.example.com ssh-ed25519 %%%\n\
         web-1.example.com ssh-rsa {blob}\n@unknown web-1.example.com {key}\n@revoked @cert-authority * {key}\n\
         |1|abc|def {key}\nweb-1.example.com 1024 35 1234567\nweb\0-1 {key}\n\
         web-1.example.com {RSA_SIGNED}\nweb-1.example.com {key} comment\r\n",
        key = text(1),
        blob = text(1).split(' ').nth(1).unwrap(),
    );
    let known = known(&file);
    assert_eq!(known.judge(&web(), &key(1)), at("kh:11"));
    let lines: Vec<_> = known.warnings().iter().map(|warning| warning.place.line).collect();
    assert_eq!(lines, (1..=10).collect::<Vec<_>>());
    assert_eq!(known.warnings()[4].to_string(), "kh:5: the marker is neither `@cert-authority` nor `@revoked`");
}

#[test]
fn s3_a_file_of_rubbish_leaves_few_warnings_and_says_how_many_there_were() {
    let known = known("rubbish\n".repeat(5_000));
    assert_eq!(known.warnings().len(), WARNINGS_KEPT + 1);
    assert_eq!(known.warnings().last().unwrap().message, "4900 more lines were skipped");
}

#[test]
fn s3_certificates_nested_in_a_key_are_refused_and_not_followed() {
    use russh::keys::ssh_encoding::base64::{Base64, Encoding as _};
    // Each level claims that the key which signed it is a certificate again.
    let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let mut nested = Vec::new();
    for _ in 0..2_000 {
        let mut level = field(b"ssh-ed25519-cert-v01@openssh.com");
        level.extend(field(&[0; 32]));
        level.extend(field(&[0; 32]));
        level.extend([0; 8 + 4 + 4 + 4 + 8 + 8 + 4 + 4 + 4]);
        level.extend(field(&nested));
        nested = level;
    }
    let blob = Base64::encode_string(&nested);
    let known = known(format!("* ssh-ed25519-cert-v01@openssh.com {blob}\n* ssh-ed25519 {blob}\n"));
    assert_eq!(known.warnings().len(), 2);
}

#[test]
fn files_are_merged_in_order_and_a_missing_one_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    fs::write(&first, format!("web-1.example.com {}\n", text(1))).unwrap();
    fs::write(&second, format!("web-1.example.com {}\n@revoked * {}\n", text(2), text(3))).unwrap();
    let known = KnownHosts::load(&[folder.path().join("missing"), first.clone(), second.clone()]).unwrap();
    assert_eq!(known.judge(&web(), &key(2)), at(&format!("{}:1", second.display())));
    assert_eq!(known.judge(&web(), &key(4)), changed(1, &format!("{}:1", first.display())));
    assert_eq!(known.judge(&web(), &key(3)), revoked(&format!("{}:2", second.display())));
}

#[test]
fn a_file_that_cannot_be_read_or_is_too_large_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = KnownHosts::load(&[folder.path().to_owned()]).unwrap_err();
    assert!(matches!(error, KnownHostsError::Read { .. }), "{error}");
    let file = folder.path().join("large");
    fs::write(&file, "0123456789").unwrap();
    assert!(matches!(read(&file, 9), Err(KnownHostsError::TooLarge { limit: 9, .. })));
    assert_eq!(read(&file, 10).unwrap().unwrap().len(), 10);
}

mod certificates {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const AUTHORITY: u8 = 9;

    struct Draft {
        kind: CertType,
        names: &'static [&'static str],
        from: u64,
        until: u64,
        option: bool,
        signer: u8,
    }

    impl Default for Draft {
        fn default() -> Self {
            let names = ["web-1.example.com"].as_slice();
            Self { kind: CertType::Host, names, from: NOW - 60, until: NOW + 60, option: false, signer: AUTHORITY }
        }
    }

    impl Draft {
        /// Signs a certificate for key 1.
        fn sign(self) -> Certificate {
            let mut builder = Builder::new([5; 16], key(1), self.from, self.until).unwrap();
            builder.cert_type(self.kind).unwrap().key_id("web").unwrap();
            for name in self.names {
                builder.valid_principal(*name).unwrap();
            }
            if self.names.is_empty() {
                builder.all_principals_valid().unwrap();
            }
            if self.option {
                builder.critical_option("force-command", "true").unwrap();
            }
            builder.sign(&private(self.signer)).unwrap()
        }
    }

    fn authority() -> String {
        format!("@cert-authority *.example.com {}\n", text(AUTHORITY))
    }

    #[test]
    fn s3_a_certificate_of_a_trusted_authority_makes_the_host_known() {
        let known = known(authority());
        assert!(known.has_authority_for(&web()));
        assert!(!known.has_authority_for(&HostId::new("example.org", 22)));
        let certificate = Draft::default().sign();
        assert_eq!(known.judge_certificate(&web(), &certificate, NOW), at("kh:1"));
        assert_eq!(known.certificate_fault(&web(), &certificate, NOW), None);
        let port = HostId::new("web-1.example.com", 2222);
        assert_eq!(known.judge_certificate(&port, &certificate, NOW), at("kh:1"), "the names have no port");
        let wildcard = Draft { names: &["web-?.example.com"], ..Draft::default() }.sign();
        assert_eq!(known.judge_certificate(&web(), &wildcard, NOW), at("kh:1"));
        assert_eq!(known.judge(&web(), &key(AUTHORITY)), KeyVerdict::Unknown, "an authority is no host");
    }

    #[test]
    fn s3_a_certificate_that_does_not_hold_is_refused_with_the_reason() {
        let table = [
            (Draft { kind: CertType::User, ..Draft::default() }, CertificateFault::Kind),
            (Draft { names: &["web-2.example.com"], ..Draft::default() }, CertificateFault::Principal),
            (Draft { names: &[], ..Draft::default() }, CertificateFault::Principal),
            (Draft { from: NOW + 1, ..Draft::default() }, CertificateFault::NotYetValid),
            (Draft { until: NOW, ..Draft::default() }, CertificateFault::Expired),
            (Draft { option: true, ..Draft::default() }, CertificateFault::CriticalOption),
            (Draft { signer: 8, ..Draft::default() }, CertificateFault::Authority),
        ];
        let known = known(authority());
        for (draft, fault) in table {
            let certificate = draft.sign();
            assert_eq!(known.certificate_fault(&web(), &certificate, NOW), Some(fault));
            assert_eq!(known.judge_certificate(&web(), &certificate, NOW), KeyVerdict::Unknown, "{fault}");
        }
    }

    #[test]
    fn s3_a_certificate_with_a_forged_signature_is_refused() {
        let mut bytes = Draft::default().sign().to_bytes().unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let forged = Certificate::from_bytes(&bytes).unwrap();
        let known = known(authority());
        assert_eq!(known.certificate_fault(&web(), &forged, NOW), Some(CertificateFault::Signature));
        assert_eq!(known.judge_certificate(&web(), &forged, NOW), KeyVerdict::Unknown);
    }

    #[test]
    fn s3_without_an_authority_the_key_inside_is_judged_as_a_plain_key() {
        let certificate = Draft::default().sign();
        let judge = |content: String| known(content).judge_certificate(&web(), &certificate, NOW);
        assert_eq!(judge(format!("web-1.example.com {}\n", text(1))), at("kh:1"));
        assert_eq!(judge(format!("web-1.example.com {}\n", text(2))), changed(2, "kh:1"));
        assert_eq!(judge(String::new()), KeyVerdict::Unknown);
    }

    #[test]
    fn s3_a_certificate_is_refused_when_its_key_or_its_authority_is_revoked() {
        let certificate = Draft::default().sign();
        for number in [1, AUTHORITY] {
            let file = format!("{}@revoked *.example.com {}\n", authority(), text(number));
            assert_eq!(known(file).judge_certificate(&web(), &certificate, NOW), revoked("kh:2"));
        }
    }

    #[test]
    fn s3_certificates_made_by_ssh_keygen_hold_unless_signed_with_sha_1() {
        let known = known(format!("@cert-authority *.example.com {RSA_AUTHORITY}\n"));
        let signed: Certificate = RSA_SIGNED.parse().unwrap();
        for host in ["web-1.example.com", "db.prod.example.com"] {
            assert_eq!(known.judge_certificate(&HostId::new(host, 22), &signed, NOW), at("kh:1"));
        }
        let other = HostId::new("web-2.example.com", 22);
        assert_eq!(known.certificate_fault(&other, &signed, NOW), Some(CertificateFault::Principal));
        let weak: Certificate = SHA1_SIGNED.parse().unwrap();
        assert_eq!(known.certificate_fault(&web(), &weak, NOW), Some(CertificateFault::Algorithm));
    }
}

mod adding {
    use super::*;

    #[test]
    fn a_trusted_key_is_written_to_a_private_file_and_judged_as_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("project/known_hosts");
        let host = HostId::new("Web-1.example.com", 2222);
        add(&file, &host, &key(1), "trusted\nby hand").unwrap();
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            format!("[web-1.example.com]:2222 {} trustedby hand\n", text(1))
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let known = KnownHosts::load(std::slice::from_ref(&file)).unwrap();
        assert_eq!(known.judge(&host, &key(1)), at(&format!("{}:1", file.display())));
    }

    #[test]
    fn adding_repairs_a_last_line_without_a_newline_and_never_doubles_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        fs::write(&file, format!("db {}", text(2))).unwrap();
        for _ in 0..3 {
            add(&file, &web(), &key(1), "").unwrap();
        }
        add(&file, &HostId::new("db", 22), &key(2), "again").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("db {}\nweb-1.example.com {}\n", text(2), text(1)));
    }

    #[test]
    fn names_that_mean_something_in_the_file_are_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        for name in ["*", "a,b", "a b", "a\nb", "", "@revoked", "|1|x|y", "!a", "[a]:1", "#a"] {
            let error = add(&file, &HostId::new(name, 22), &key(1), "").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
        assert!(!file.exists());
        add(&file, &HostId::new("2001:db8::7", 2222), &key(1), "").unwrap();
        assert!(fs::read_to_string(&file).unwrap().starts_with("[2001:db8::7]:2222 ssh-ed25519 "));
    }

    #[test]
    fn many_adding_at_once_tear_and_lose_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let file = &file;
                scope.spawn(move || {
                    for host in 0..10 {
                        add(file, &HostId::new(&format!("host-{host}"), 22), &key(number), "").unwrap();
                    }
                });
            }
        });
        let known = KnownHosts::load(std::slice::from_ref(&file)).unwrap();
        assert_eq!(known.warnings(), []);
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 80);
    }
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn s3_no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let known = known(&bytes);
            known.judge(&web(), &key(1));
            known.known_algorithms(&web());
        }

        #[test]
        fn s3_no_mangled_line_makes_the_reader_panic_or_another_key_known(
            cut in 0..120_usize, at in 0..120_usize, byte in any::<u8>(), host in "[@|!*,\\[\\]1a-c. \t]{0,12}",
        ) {
            let mut line = format!("{host} {}\n", text(1)).into_bytes();
            line.truncate(line.len().saturating_sub(cut));
            if let Some(place) = line.get_mut(at) {
                *place = byte;
            }
            let known = known(&line);
            prop_assert_eq!(known.judge(&HostId::new("a", 22), &key(2)) == at_first(), false);
        }
    }

    fn at_first() -> KeyVerdict {
        super::at("kh:1")
    }
}
