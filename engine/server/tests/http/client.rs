//! The least of an HTTP client: what is sent is what the test says, byte by byte.
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any test waits on purpose.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reply, whole.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("replies are UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What is wrong, by the refusal's own account; every refusal has a shape that clients know.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        let error = &self.json()["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        assert!(error["type"].is_string() && error.get("param").is_some(), "{self:?}");
        error["code"].as_str().expect("a code").to_owned()
    }

    /// The data of a stream's events.
    pub fn events(&self) -> Vec<String> {
        let text = self.text();
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // The server may have refused, and closed, before all was sent.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line in time");
        line.trim_end().to_owned()
    }

    /// The head of a reply, and the rest of it unread.
    pub fn head(&mut self) -> Reply {
        let first = self.line();
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no reply, but {first:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Reply { status, headers, body: Vec::new() }
    }

    /// The next part of a chunked body; nothing at its end.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line();
        let size = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("no size, but {size:?}"));
        let mut bytes = vec![0; size + 2];
        self.stream.read_exact(&mut bytes).expect("a whole part");
        bytes.truncate(size);
        (size > 0).then_some(bytes)
    }

    /// A reply, whole.
    pub fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        if let Some(length) = reply.header("content-length").map(|length| length.parse().unwrap()) {
            reply.body = vec![0; length];
            self.stream.read_exact(&mut reply.body).expect("a whole body");
        } else {
            while let Some(part) = self.chunk() {
                reply.body.extend(part);
            }
        }
        reply
    }
}

/// The bytes of a request; `head` is more lines of the head, each with its end.
pub fn request(method: &str, path: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{head}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The head of a request with JSON.
pub const JSON: &str = "Content-Type: application/json\r\n";

/// A form with a file and its purpose.
pub fn form(name: &str, file: &[u8], more: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, value) in [("purpose", "user_data")].iter().chain(more) {
        body.extend(
            format!("--cut\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n").into_bytes(),
        );
    }
    let head = format!("--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
    body.extend(head.into_bytes());
    body.extend_from_slice(file);
    body.extend(b"\r\n--cut--\r\n");
    body
}

/// The head of a request with a form.
pub const FORM: &str = "Content-Type: multipart/form-data; boundary=cut\r\n";
