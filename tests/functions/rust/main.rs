//! A runtime and its function in one program, with nothing but Rust's standard library.

use std::collections::HashMap;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

struct Answer {
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

fn ask(api: &str, method: &str, path: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(api)?;
    write!(
        stream,
        "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    let mut reader = BufReader::new(stream);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_lowercase(), value.to_string());
        }
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Answer { headers, body })
}

fn handle(event: &[u8]) -> Result<Vec<u8>, String> {
    if event.starts_with(b"\"panic") {
        panic!("as asked");
    }
    let mut reversed = event.to_vec();
    reversed.reverse();
    println!("turned {} bytes", event.len());
    Ok(format!("{{\"bytes\":{}}}", reversed.len()).into_bytes())
}

fn main() -> std::io::Result<()> {
    let api = env::var("AWS_LAMBDA_RUNTIME_API").expect("AWS_LAMBDA_RUNTIME_API");
    loop {
        let next = ask(&api, "GET", "invocation/next", b"")?;
        let id = &next.headers["lambda-runtime-aws-request-id"];
        match handle(&next.body) {
            Ok(body) => ask(&api, "POST", &format!("invocation/{id}/response"), &body)?,
            Err(error) => ask(
                &api,
                "POST",
                &format!("invocation/{id}/error"),
                error.as_bytes(),
            )?,
        };
    }
}
