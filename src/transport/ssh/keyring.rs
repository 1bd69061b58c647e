//! Keys, passphrases and passwords of the process: each read or asked for once, however many hosts need it.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use russh::keys::{Certificate, PrivateKey, PublicKey};
use tokio::sync::OnceCell;

use super::{Prompter, Questions, SecretReader, patience::Pauses};
use crate::model::{Secret, SecretSource};

/// Times a person may mistype a passphrase.
const PASSPHRASES: usize = 3;

/// What the process knows of keys and passwords.
pub(super) struct Keyring {
    prompter: Arc<dyn Prompter>,
    secrets: SecretReader,
    pauses: Arc<Pauses>,
    /// One question at a time: a terminal has one line.
    asking: tokio::sync::Mutex<()>,
    files: Once<PathBuf, Arc<KeyFile>>,
    unlocked: Once<PathBuf, Result<Arc<PrivateKey>, String>>,
    /// By user and address: what was typed for one host is never offered to another.
    passwords: Mutex<HashMap<(String, String), Remembered>>,
    answers: Mutex<HashMap<(String, String), Vec<Secret>>>,
    sources: Once<SecretSource, Result<Secret, String>>,
}

/// Values made once for each key, whoever asks first; the others wait for it.
struct Once<K, V>(Mutex<BTreeMap<K, Arc<OnceCell<V>>>>);

impl<K: Clone + Ord, V: Clone> Once<K, V> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    async fn get(&self, key: &K, make: impl Future<Output = V>) -> V {
        let cell = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default());
        cell.get_or_init(|| make).await.clone()
    }
}

/// What a key file holds, as far as it can be seen without its passphrase.
#[derive(Debug)]
pub(super) enum KeyFile {
    Missing,
    /// Cannot be used, and why.
    Unusable(String),
    /// A public key only: its private half is in the agent.
    Public(PublicKey),
    Open(Arc<PrivateKey>),
    /// Needs a passphrase. Older formats hide the public key, too.
    Locked {
        public: Option<PublicKey>,
        text: Secret,
    },
}

impl KeyFile {
    pub(super) fn public(&self) -> Option<&PublicKey> {
        match self {
            Self::Public(key) => Some(key),
            Self::Open(key) => Some(key.public_key()),
            Self::Locked { public, .. } => public.as_ref(),
            Self::Missing | Self::Unusable(_) => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Remembered {
    password: Option<Secret>,
    /// Counts the askings, so that many hosts that refuse one password lead to one new question.
    asked: u32,
}

impl Keyring {
    pub(super) fn new(prompter: Arc<dyn Prompter>, secrets: SecretReader) -> Self {
        Self {
            prompter,
            secrets,
            pauses: Arc::default(),
            asking: tokio::sync::Mutex::new(()),
            files: Once::new(),
            unlocked: Once::new(),
            passwords: Mutex::default(),
            answers: Mutex::default(),
            sources: Once::new(),
        }
    }

    pub(super) fn pauses(&self) -> &Arc<Pauses> {
        &self.pauses
    }

    /// Looks at a key file.
    pub(super) async fn file(&self, path: &Path) -> Arc<KeyFile> {
        let path = path.to_owned();
        let key = path.clone();
        let look = async move {
            let looked = tokio::task::spawn_blocking(move || look_at(&path)).await;
            Arc::new(looked.unwrap_or_else(|_| KeyFile::Unusable("reading it was broken off".to_owned())))
        };
        self.files.get(&key, look).await
    }

    /// Returns the private key of a file, asking for its passphrase where it has one.
    pub(super) async fn private(&self, path: &Path) -> Result<Arc<PrivateKey>, String> {
        match &*self.file(path).await {
            KeyFile::Open(key) => Ok(Arc::clone(key)),
            KeyFile::Locked { text, .. } => self.unlocked.get(&path.to_owned(), self.unlock(path, text)).await,
            KeyFile::Missing => Err("no such file".to_owned()),
            KeyFile::Unusable(reason) => Err(reason.clone()),
            KeyFile::Public(_) => Err("a public key without its private half".to_owned()),
        }
    }

    async fn unlock(&self, path: &Path, text: &Secret) -> Result<Arc<PrivateKey>, String> {
        let _pause = self.pauses.pause();
        let _turn = self.asking.lock().await;
        for attempt in 0..PASSPHRASES {
            let Some(passphrase) = self.prompter.passphrase(path, attempt > 0).await else {
                return Err("it needs a passphrase, and there is nobody to ask".to_owned());
            };
            let text = text.clone();
            // Deriving the key takes 100 ms and more, by design.
            let opened = tokio::task::spawn_blocking(move || {
                russh::keys::decode_secret_key(text.reveal(), Some(passphrase.reveal()))
            });
            if let Ok(Ok(key)) = opened.await {
                return Ok(Arc::new(key));
            }
        }
        Err("the passphrase does not fit".to_owned())
    }

    /// Returns the value of a secret.
    pub(super) async fn secret(&self, source: &SecretSource) -> Result<Secret, String> {
        let (secrets, wanted) = (Arc::clone(&self.secrets), source.clone());
        let read = async move {
            // A password manager may ask the person itself.
            let _pause = self.pauses.pause();
            tokio::task::spawn_blocking(move || secrets(&wanted))
                .await
                .unwrap_or_else(|_| Err("reading the secret was broken off".to_owned()))
        };
        self.sources.get(source, read).await
    }

    /// Asks for a user's password at an address, or returns what was answered before for the same two.
    ///
    /// `refused` is the number of the answer that the host did not take: then a newer one is returned,
    /// or asked for.
    pub(super) async fn password(&self, user: &str, address: &str, refused: Option<u32>) -> Option<(Secret, u32)> {
        let key = (user.to_owned(), address.to_owned());
        let known = || {
            let passwords = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
            passwords.get(&key).filter(|known| refused.is_none_or(|refused| known.asked > refused)).cloned()
        };
        let _pause = self.pauses.pause();
        let _turn = self.asking.lock().await;
        let known = if let Some(known) = known() {
            known
        } else {
            let password = self.prompter.password(user, address, refused.is_some()).await;
            let known = Remembered { password, asked: refused.map_or(1, |refused| refused + 1) };
            let mut passwords = self.passwords.lock().unwrap_or_else(PoisonError::into_inner);
            passwords.insert(key.clone(), known.clone());
            known
        };
        known.password.map(|password| (password, known.asked))
    }

    /// Puts a host's questions. Answers are remembered unless they may differ each time: for one user
    /// at one address and one hidden question, which is a password by another name.
    pub(super) async fn answers(&self, questions: &Questions, again: bool) -> Option<Vec<Secret>> {
        let key = match questions.prompts.as_slice() {
            [only] if !only.echo && only.prompt.to_lowercase().contains("password") => {
                Some((questions.user.clone(), questions.address.clone()))
            }
            _ => None,
        };
        let _pause = self.pauses.pause();
        let _turn = self.asking.lock().await;
        if let Some(key) = &key
            && !again
            && let Some(known) = self.answers.lock().unwrap_or_else(PoisonError::into_inner).get(key)
        {
            return Some(known.clone());
        }
        let answers = self.prompter.answers(questions).await.filter(|a| a.len() == questions.prompts.len())?;
        if let Some(key) = key {
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(key, answers.clone());
        }
        Some(answers)
    }
}

/// Reads a certificate file; `None` when there is none.
pub(super) async fn certificate(path: &Path) -> Option<Result<Certificate, String>> {
    let text = match tokio::fs::read_to_string(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    Some(Certificate::from_openssh(text.trim()).map_err(|error| error.to_string()))
}

fn look_at(path: &Path) -> KeyFile {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return KeyFile::Missing,
        Err(error) => return KeyFile::Unusable(error.to_string()),
    };
    if let Ok(key) = PublicKey::from_openssh(text.trim()) {
        return KeyFile::Public(key);
    }
    let beside = || russh::keys::load_public_key(with_suffix(path, ".pub")).ok();
    match PrivateKey::from_openssh(text.as_str()) {
        Ok(key) if key.is_encrypted() => {
            return KeyFile::Locked { public: Some(key.public_key().clone()), text: Secret::new(text) };
        }
        Ok(key) => return KeyFile::Open(Arc::new(key)),
        // Another format: PEM, PKCS#8.
        Err(_) => {}
    }
    match russh::keys::decode_secret_key(&text, None) {
        Ok(key) => KeyFile::Open(Arc::new(key)),
        Err(russh::keys::Error::KeyIsEncrypted) => KeyFile::Locked { public: beside(), text: Secret::new(text) },
        Err(error) => {
            if text.contains("ENCRYPTED") {
                KeyFile::Locked { public: beside(), text: Secret::new(text) }
            } else {
                KeyFile::Unusable(error.to_string())
            }
        }
    }
}

/// Appends to a file name, as OpenSSH does: `id_ed25519` and `.pub`.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::transport::ssh::Question;

    /// Answers each question with what it is for, and counts.
    #[derive(Default)]
    struct Person(std::sync::atomic::AtomicU32);

    #[async_trait]
    impl Prompter for Person {
        async fn passphrase(&self, _: &Path, _: bool) -> Option<Secret> {
            None
        }

        async fn password(&self, user: &str, address: &str, _: bool) -> Option<Secret> {
            let asked = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Some(Secret::new(format!("{user}@{address} {asked}")))
        }

        async fn answers(&self, questions: &Questions) -> Option<Vec<Secret>> {
            self.password(&questions.user, &questions.address, false).await.map(|password| vec![password])
        }
    }

    fn keyring() -> Keyring {
        Keyring::new(Arc::new(Person::default()), Arc::new(|_| Err("none".to_owned())))
    }

    async fn password(keyring: &Keyring, user: &str, address: &str, refused: Option<u32>) -> (String, u32) {
        let (password, number) = keyring.password(user, address, refused).await.expect("a person");
        (password.reveal().to_owned(), number)
    }

    #[tokio::test]
    async fn a_password_typed_for_one_host_is_never_offered_to_another() {
        let keyring = keyring();
        assert_eq!(password(&keyring, "root", "a:22", None).await.0, "root@a:22 0");
        assert_eq!(password(&keyring, "root", "b:22", None).await.0, "root@b:22 1");
        assert_eq!(password(&keyring, "ops", "a:22", None).await.0, "ops@a:22 2");
        // The same host is not asked about again, unless it refused the answer.
        assert_eq!(password(&keyring, "root", "a:22", None).await, ("root@a:22 0".to_owned(), 1));
        assert_eq!(password(&keyring, "root", "a:22", Some(1)).await, ("root@a:22 3".to_owned(), 2));
        assert_eq!(password(&keyring, "root", "b:22", None).await.0, "root@b:22 1");
    }

    #[tokio::test]
    async fn an_answer_to_a_hosts_own_question_stays_with_that_host() {
        let keyring = keyring();
        let questions = |address: &str| Questions {
            user: "root".to_owned(),
            address: address.to_owned(),
            name: String::new(),
            instructions: String::new(),
            prompts: vec![Question { prompt: "Password: ".to_owned(), echo: false }],
        };
        let mut heard = Vec::new();
        for address in ["a:22", "b:22", "a:22"] {
            let answers = keyring.answers(&questions(address), false).await.expect("a person");
            heard.push(answers[0].reveal().to_owned());
        }
        assert_eq!(heard, ["root@a:22 0", "root@b:22 1", "root@a:22 0"]);
    }
}
