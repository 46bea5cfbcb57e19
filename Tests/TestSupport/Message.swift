/// An HTTP/1 message as a peer read it.
package struct Message: Sendable {
    package var startLine: String
    package var fields: [(name: String, value: String)]
    package var body: String
    /// The framing says that nothing is missing.
    package var isComplete: Bool

    package var status: Int? { Int(startLine.split(separator: " ").dropFirst().first ?? "") }

    /// All values of a field, in order.
    package func values(_ name: String) -> [String] {
        fields.filter { $0.name.lowercased() == name.lowercased() }.map(\.value)
    }

    /// The value of a field that came once; joined if it came more often.
    package subscript(name: String) -> String? {
        let all = values(name)
        return all.isEmpty ? nil : all.joined(separator: " | ")
    }
}

extension Peer {
    /// Reads one message; a response to HEAD has no body whatever it says.
    package func readMessage(answersHEAD: Bool = false) -> Message {
        let head = read(until: "\r\n\r\n")
        var lines = head.split(separator: "\r\n", omittingEmptySubsequences: true).map(String.init)
        guard head.hasSuffix("\r\n\r\n"), !lines.isEmpty else {
            return Message(startLine: head, fields: [], body: "", isComplete: false)
        }
        let startLine = lines.removeFirst()
        var message = Message(startLine: startLine, fields: [], body: "", isComplete: true)
        message.fields = lines.map { line in
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), String(parts.last ?? "").trimmed)
        }
        let isResponse = startLine.hasPrefix("HTTP/")
        let status = message.status ?? 0
        if isResponse, answersHEAD || status < 200 || status == 204 || status == 304 { return message }
        if message["transfer-encoding"] == "chunked" {
            (message.body, message.isComplete) = readChunks()
        } else if let length = message["content-length"].flatMap({ Int($0) }) {
            let bytes = read(count: length)
            message.body = String(decoding: bytes, as: UTF8.self)
            message.isComplete = bytes.count == length
        } else if isResponse {
            let (text, end) = readToEnd()
            message.body = text
            message.isComplete = end == .closed
        }
        return message
    }

    private func readChunks() -> (String, Bool) {
        var body: [UInt8] = []
        while true {
            let line = read(until: "\r\n")
            guard line.hasSuffix("\r\n"), let size = Int(line.dropLast(), radix: 16) else {
                return (String(decoding: body, as: UTF8.self), false)
            }
            let chunk = read(count: size)
            body += chunk
            guard chunk.count == size, read(until: "\r\n") == "\r\n" else {
                return (String(decoding: body, as: UTF8.self), false)
            }
            if size == 0 { return (String(decoding: body, as: UTF8.self), true) }
        }
    }
}

extension String {
    fileprivate var trimmed: String {
        var text = Substring(self)
        while text.first == " " { text = text.dropFirst() }
        while text.last == " " { text = text.dropLast() }
        return String(text)
    }
}
