//! What stands before the machines of a platform: whoever connects reaches the release that runs, or nobody.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
};

/// Where the connections of a release go.
#[derive(Clone)]
pub enum Behind {
    /// To a server at this address.
    Server(String),
    /// To the server at the first of these addresses whose file is the same as this one, or else to nobody.
    WithFile(PathBuf, Vec<(PathBuf, String)>),
    /// Each request is answered with this.
    Answer(&'static str),
}

/// Listens until the test ends. `running` is the file with the tag of the release that runs. Returns the port.
pub fn listen(running: PathBuf, behind: BTreeMap<&'static str, Behind>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tag = std::fs::read_to_string(&running).unwrap_or_default();
            let Some(behind) = behind.get(tag.trim()).cloned() else { continue };
            std::thread::spawn(move || serve(stream, behind));
        }
    });
    port
}

fn serve(mut stream: TcpStream, behind: Behind) {
    match behind {
        Behind::Answer(text) => {
            let _ = stream.read(&mut [0; 4096]);
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len());
            let _ = stream.write_all(answer.as_bytes());
        }
        Behind::WithFile(file, servers) => {
            let has = |path: &PathBuf| std::fs::read(path).ok();
            let server = servers.into_iter().find(|(path, _)| has(&file).is_some_and(|text| Some(text) == has(path)));
            if let Some((_, address)) = server {
                serve(stream, Behind::Server(address));
            }
        }
        Behind::Server(address) => {
            let Ok(server) = TcpStream::connect(address) else { return };
            let (Ok(from), Ok(to)) = (stream.try_clone(), server.try_clone()) else { return };
            let up = std::thread::spawn(move || pass(from, to));
            pass(server, stream);
            let _ = up.join();
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
