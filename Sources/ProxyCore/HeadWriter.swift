internal import HTTPModel

/// Writes heads from the parsed ones: kept fields are copied byte for byte, framing is written anew.
enum HeadWriter {
    /// The request head as it goes upstream, HTTP/1.1.
    static func writeRequest(_ exchange: Exchange, into buffer: inout ByteBuffer) {
        writeRequestFields(exchange, into: &buffer)
        switch exchange.head.framing {
        case .none: break
        case .length(let count): writeLength(count, into: &buffer)
        case .chunked: buffer.append("Transfer-Encoding: chunked\r\n" as StaticString)
        }
        if exchange.isWebSocketHandshake {
            buffer.append("Connection: upgrade\r\nUpgrade: websocket\r\n" as StaticString)
            if !exchange.handshakeKey.isEmpty {
                buffer.append("Sec-WebSocket-Key: " as StaticString)
                buffer.append(exchange.handshakeKey)
                buffer.append("\r\n" as StaticString)
            }
        }
        buffer.append(contentsOf: exchange.upstreamFields)
        buffer.append("\r\n" as StaticString)
    }

    /// The same for a body of which only its end tells the length: `finishRequest` follows.
    static func beginRequest(_ exchange: Exchange, into buffer: inout ByteBuffer) {
        writeRequestFields(exchange, into: &buffer)
        buffer.append(contentsOf: exchange.upstreamFields)
    }

    /// Ends a head that `beginRequest` began; without a length the body is chunked.
    static func finishRequest(bodyByteCount: UInt64?, into buffer: inout ByteBuffer) {
        if let bodyByteCount {
            writeLength(bodyByteCount, into: &buffer)
        } else {
            buffer.append("Transfer-Encoding: chunked\r\n" as StaticString)
        }
        buffer.append("\r\n" as StaticString)
    }

    private static func writeLength(_ count: UInt64, into buffer: inout ByteBuffer) {
        buffer.append("Content-Length: " as StaticString)
        buffer.append(decimal: count)
        buffer.append("\r\n" as StaticString)
    }

    /// The request line and kept fields.
    private static func writeRequestFields(_ exchange: Exchange, into buffer: inout ByteBuffer) {
        let bytes = exchange.headBytes
        append(bytes, exchange.head.methodRange, to: &buffer)
        buffer.append(UInt8(ascii: " "))
        if exchange.target.isEmpty {
            append(bytes, exchange.head.target, to: &buffer)
        } else {
            buffer.append(contentsOf: exchange.target)
        }
        buffer.append(" HTTP/1.1\r\n" as StaticString)
        writeHost(exchange, bytes, into: &buffer)
        for index in 0..<exchange.head.fields.count {
            let field = exchange.head.fields[index]
            guard !field.isDropped else { continue }
            switch field.known {
            case .host, .contentLength, .transferEncoding, .connection: continue
            // HTTP/1.0 knows no expectations (RFC 9110 section 10.1.1), and the application would take it for 1.1.
            case .expect where exchange.head.minorVersion == 0: continue
            default: appendLine(bytes, field, to: &buffer)
            }
        }
        writeVia(exchange, into: &buffer)
    }

    /// That the request came this way, and by which version (RFC 9110 section 7.6.3), behind what others said.
    private static func writeVia(_ exchange: Exchange, into buffer: inout ByteBuffer) {
        if exchange.isHTTP2 {
            buffer.append("Via: 2.0 auth-gateway\r\n" as StaticString)
        } else if exchange.head.minorVersion == 0 {
            buffer.append("Via: 1.0 auth-gateway\r\n" as StaticString)
        } else {
            buffer.append("Via: 1.1 auth-gateway\r\n" as StaticString)
        }
    }

    private static func writeHost(_ exchange: Exchange, _ bytes: Span<UInt8>, into buffer: inout ByteBuffer) {
        buffer.append("Host: " as StaticString)
        if exchange.head.authority.count > 0 {
            append(bytes, exchange.head.authority, to: &buffer)
        } else {
            // An HTTP/1.0 client may name no host; HTTP/1.1 upstream must.
            buffer.append(exchange.pool?.settings.name ?? "localhost")
        }
        buffer.append("\r\n" as StaticString)
    }

    /// The status line and kept fields of an upstream's answer; framing and our own fields follow by the caller.
    static func writeResponse(
        _ head: borrowing ResponseHead, _ bytes: Span<UInt8>, into buffer: inout ByteBuffer
    ) {
        buffer.append("HTTP/1.1 " as StaticString)
        buffer.append(decimal: UInt64(head.status))
        buffer.append(UInt8(ascii: " "))
        buffer.append(StatusReason.text(head.status))
        buffer.append("\r\n" as StaticString)
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            guard !field.isDropped else { continue }
            switch field.known {
            case .contentLength, .transferEncoding, .connection: continue
            default: appendLine(bytes, field, to: &buffer)
            }
        }
    }

    /// The `Content-Length` that a body would have had (RFC 9110 section 8.6: HEAD and 304).
    static func writeLengthOfAbsentBody(
        _ head: borrowing ResponseHead, _ bytes: Span<UInt8>, into buffer: inout ByteBuffer
    ) {
        guard head.status >= 200, head.status != 204, let index = head.firstIndex(of: .contentLength) else { return }
        appendLine(bytes, head.fields[index], to: &buffer)
    }

    /// The head of a 101 with the protocol that was agreed on.
    static func writeSwitch(_ head: borrowing ResponseHead, _ bytes: Span<UInt8>, into buffer: inout ByteBuffer) {
        buffer.append("HTTP/1.1 101 Switching Protocols\r\n" as StaticString)
        for index in 0..<head.fields.count {
            let field = head.fields[index]
            switch field.known {
            case .contentLength, .transferEncoding, .connection: continue
            case .upgrade: appendLine(bytes, field, to: &buffer)
            default: if !field.isDropped { appendLine(bytes, field, to: &buffer) }
            }
        }
        buffer.append("Connection: upgrade\r\n" as StaticString)
    }

    private static func append(_ bytes: Span<UInt8>, _ range: ByteRange, to buffer: inout ByteBuffer) {
        let start = Int(range.start)
        buffer.append(bytes, start..<start + Int(range.count))
    }

    private static func appendLine(_ bytes: Span<UInt8>, _ field: FieldLine, to buffer: inout ByteBuffer) {
        append(bytes, field.name, to: &buffer)
        buffer.append(": " as StaticString)
        append(bytes, field.value, to: &buffer)
        buffer.append("\r\n" as StaticString)
    }
}

/// Reason phrases (RFC 9110 section 15); an unknown status has none.
enum StatusReason {
    static func text(_ status: Int) -> StaticString {
        switch status {
        case 100: "Continue"
        case 101: "Switching Protocols"
        case 103: "Early Hints"
        case 200: "OK"
        case 201: "Created"
        case 202: "Accepted"
        case 204: "No Content"
        case 206: "Partial Content"
        case 301: "Moved Permanently"
        case 302: "Found"
        case 303: "See Other"
        case 304: "Not Modified"
        case 307: "Temporary Redirect"
        case 308: "Permanent Redirect"
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 408: "Request Timeout"
        case 409: "Conflict"
        case 413: "Content Too Large"
        case 414: "URI Too Long"
        case 415: "Unsupported Media Type"
        case 417: "Expectation Failed"
        case 421: "Misdirected Request"
        case 422: "Unprocessable Content"
        case 429: "Too Many Requests"
        case 431: "Request Header Fields Too Large"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 502: "Bad Gateway"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 505: "HTTP Version Not Supported"
        default: ""
        }
    }
}
