//! A webhook on loopback that keeps what it was told.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Listens until the test ends.
pub struct Notices {
    pub url: String,
    told: Arc<Mutex<Vec<String>>>,
}

impl Notices {
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/notices", listener.local_addr().expect("bound"));
        let told = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&told);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
                let (mut seen, mut part) = (Vec::new(), [0; 4096]);
                // Headers, and as much of a body as they say.
                let body = loop {
                    let text = String::from_utf8_lossy(&seen).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n") {
                        let length = head
                            .to_lowercase()
                            .split("content-length: ")
                            .nth(1)
                            .and_then(|rest| rest.split("\r\n").next()?.trim().parse::<usize>().ok());
                        if body.len() >= length.unwrap_or(0) {
                            break body.to_owned();
                        }
                    }
                    match stream.read(&mut part) {
                        Ok(count @ 1..) => seen.extend_from_slice(&part[..count]),
                        _ => break String::new(),
                    }
                };
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
                keep.lock().expect("no panic").push(body);
            }
        });
        Self { url, told }
    }

    /// The texts of all notices so far that speak of a host, in order.
    pub fn of(&self, host: &str) -> Vec<String> {
        let told = self.told.lock().expect("no panic");
        let text = |body: &String| {
            Some(serde_json::from_str::<serde_json::Value>(body).ok()?.get("text")?.as_str()?.to_owned())
        };
        told.iter().filter_map(text).filter(|text| text.contains(host)).collect()
    }
}
