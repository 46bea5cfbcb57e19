import GatewayConfig
import HTTPModel

/// The fields that tell browsers to be strict, as complete lines.
struct SecurityFields: Sendable {
    private struct Field: Sendable {
        /// In lower case.
        let name: [UInt8]
        let line: [UInt8]
        /// Means nothing without TLS, and is not to be sent then (RFC 6797 section 7.2).
        var needsTLS = false
        /// Goes with answers of our own, which have policies of their own for the others.
        var isForOwnAnswers = false
    }

    private let fields: [Field]
    private let replacesExisting: Bool

    init(_ headers: GatewayConfiguration.SecurityHeaders) {
        var fields: [Field] = []
        func add(_ name: String, _ value: String?, needsTLS: Bool = false, isForOwnAnswers: Bool = false) {
            guard let value else { return }
            fields.append(
                Field(
                    name: Array(name.lowercased().utf8), line: Array("\(name): \(value)\r\n".utf8), needsTLS: needsTLS,
                    isForOwnAnswers: isForOwnAnswers))
        }
        let age = headers.hstsMaxAge.map { age in
            "max-age=\(age.components.seconds)" + (headers.hstsIncludesSubdomains ? "; includeSubDomains" : "")
                + (headers.hstsPreloads ? "; preload" : "")
        }
        add("Strict-Transport-Security", age, needsTLS: true, isForOwnAnswers: true)
        add("X-Content-Type-Options", headers.forbidsSniffing ? "nosniff" : nil)
        add("X-Frame-Options", headers.frameOptions, isForOwnAnswers: true)
        add("Referrer-Policy", headers.referrerPolicy)
        add("Content-Security-Policy", headers.contentSecurityPolicy)
        add("Permissions-Policy", headers.permissionsPolicy, isForOwnAnswers: true)
        self.fields = fields
        replacesExisting = headers.replacesExisting
    }

    /// For an answer of the gateway's own.
    func append(to buffer: inout ByteBuffer, isSecure: Bool) {
        for field in fields where field.isForOwnAnswers && (isSecure || !field.needsTLS) { buffer.append(field.line) }
    }

    /// For an application's answer: beside what it sent itself, or instead of it. HOT.
    func append(to buffer: inout ByteBuffer, head: inout ResponseHead, bytes: Span<UInt8>, isSecure: Bool) {
        for field in fields where isSecure || !field.needsTLS {
            var isThere = false
            for index in 0..<head.fields.count where !head.fields[index].isDropped {
                guard SecurityFields.isSame(field.name, head.fields[index].name.range, bytes) else { continue }
                isThere = true
                if replacesExisting { head.fields[index].isDropped = true }
            }
            if !isThere || replacesExisting { buffer.append(field.line) }
        }
    }

    private static func isSame(_ name: [UInt8], _ range: Range<Int>, _ bytes: Span<UInt8>) -> Bool {
        guard range.count == name.count else { return false }
        for index in name.indices {
            // Letters and hyphens alone: the bit that makes a letter small is set in a hyphen anyway.
            guard bytes[range.lowerBound + index] | 0x20 == name[index] else { return false }
        }
        return true
    }
}
