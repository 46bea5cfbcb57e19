internal import COpenSSL
internal import EventLoop
internal import Glibc

/// A TLS setting or file that cannot be used.
public struct TLSError: Error, Sendable, CustomStringConvertible {
    /// What was tried, and OpenSSL's reasons.
    public let description: String

    init(_ step: String) {
        var reasons: [String] = []
        while true {
            let code = ERR_get_error()
            if code == 0 { break }
            // A constant text of the library.
            guard let reason = unsafe ERR_reason_error_string(code) else { continue }
            let text = unsafe String(cString: reason)
            if !reasons.contains(text) { reasons.append(text) }
        }
        description = reasons.isEmpty ? step : "\(step): \(reasons.joined(separator: "; "))"
    }
}

/// Files of certificates, keys and revocation lists, each read at one time.
enum TLSFiles {
    static func read(_ path: String) throws(TLSError) -> [UInt8] {
        let number = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard number >= 0 else { throw TLSError("\(path): \(reason())") }
        defer { close(number) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            // Room for as many bytes as it says.
            let count = unsafe Glibc.read(number, &chunk, chunk.count)
            guard count >= 0 else { throw TLSError("\(path): \(reason())") }
            if count == 0 { return bytes }
            guard bytes.count + count <= bytesMax else { throw TLSError("\(path): more than 64 MiB") }
            bytes += chunk[..<count]
        }
    }

    /// Of the call that failed just now.
    private static func reason() -> String {
        // The library's text, until the next call on this thread.
        unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "error \(errno)"
    }

    /// Calls `body` with a BIO that gives the bytes.
    static func withMemory<Value>(
        _ bytes: [UInt8], _ body: (OpaquePointer) throws(TLSError) -> Value
    ) throws(TLSError) -> Value {
        // What an earlier failure left behind would be taken for this one's.
        ERR_clear_error()
        guard let memory = unsafe BIO_new(BIO_s_mem()) else { throw TLSError("out of memory") }
        // It belongs to this call; `body` does not keep it.
        defer { unsafe BIO_free(memory) }
        // A memory BIO copies all.
        guard unsafe bytes.isEmpty || BIO_write(memory, bytes, CInt(clamping: bytes.count)) == bytes.count else {
            throw TLSError("out of memory")
        }
        return try unsafe body(memory)
    }

    /// Every certificate of PEM text, in order; the caller owns them.
    static func certificates(in bytes: [UInt8], _ path: String) throws(TLSError) -> [OpaquePointer] {
        try unsafe parts(of: bytes, path, "certificate", X509_free) { memory in
            unsafe PEM_read_bio_X509(memory, nil, noPassphrase, nil)
        }
    }

    /// Every revocation list of PEM text; the caller owns them.
    static func revocationLists(in bytes: [UInt8], _ path: String) throws(TLSError) -> [OpaquePointer] {
        try unsafe parts(of: bytes, path, "revocation list", X509_CRL_free) { memory in
            unsafe PEM_read_bio_X509_CRL(memory, nil, noPassphrase, nil)
        }
    }

    /// The private key of PEM text; the caller owns it.
    static func privateKey(in bytes: [UInt8], _ path: String) throws(TLSError) -> OpaquePointer {
        try unsafe withMemory(bytes) { memory throws(TLSError) in
            guard let key = unsafe PEM_read_bio_PrivateKey(memory, nil, noPassphrase, nil) else {
                throw TLSError("private key \(path)")
            }
            return unsafe key
        }
    }

    private static func parts(
        of bytes: [UInt8], _ path: String, _ what: String, _ free: (OpaquePointer?) -> Void,
        _ next: (OpaquePointer) -> OpaquePointer?
    ) throws(TLSError) -> [OpaquePointer] {
        try unsafe withMemory(bytes) { memory throws(TLSError) in
            var parts: [OpaquePointer] = unsafe []
            while let part = unsafe next(memory) { unsafe parts.append(part) }
            // Only an end of the text is an end of the list: half of a chain, or of the lists, is none.
            guard copenssl_is_end_of_pem() == 1, unsafe !parts.isEmpty else {
                unsafe parts.forEach { unsafe free($0) }
                throw TLSError("\(what) \(path)")
            }
            ERR_clear_error()
            return unsafe parts
        }
    }

    /// Seconds since the epoch; `nil` for a time that cannot be read.
    static func epochSeconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64? {
        var parts = unsafe tm()
        // `parts` is a local that outlives the calls.
        guard let time = unsafe time, unsafe ASN1_TIME_to_tm(time, &parts) == 1 else { return nil }
        return unsafe Int64(timegm(&parts))
    }

    /// When the first of some revocation lists ends; each must say when it does.
    static func end(of lists: [OpaquePointer], _ path: String) throws(TLSError) -> Int64 {
        var end = Int64.max
        for index in 0..<(unsafe lists.count) {
            guard let last = unsafe epochSeconds(X509_CRL_get0_nextUpdate(lists[index])) else {
                throw TLSError("revocation list \(path): it does not say when it ends (nextUpdate)")
            }
            end = min(end, last)
        }
        return end
    }

    private static let bytesMax = 64 << 20
}

/// A file with a passphrase is refused; nobody is asked at a terminal.
private func noPassphrase(
    _ buffer: UnsafeMutablePointer<CChar>?, _ size: CInt, _ isWriting: CInt, _ argument: UnsafeMutableRawPointer?
) -> CInt { 0 }

/// Looks at files of TLS as those who use them later do.
public enum TLSCheck {
    /// Throws where a response cannot be stapled to a certificate now.
    public static func staple(_ path: String, of certificate: String) throws(TLSError) {
        let parts = try unsafe TLSFiles.certificates(in: try TLSFiles.read(certificate), certificate)
        defer { unsafe parts.forEach { unsafe X509_free($0) } }
        _ = try unsafe OCSPStaple(path, for: parts[0], now: currentEpochSeconds())
    }

    /// When the first of the revocation lists in a file ends, in seconds since the epoch.
    public static func revocationsEnd(_ path: String) throws(TLSError) -> Int64 {
        let lists = try unsafe TLSFiles.revocationLists(in: try TLSFiles.read(path), path)
        defer { unsafe lists.forEach { unsafe X509_CRL_free($0) } }
        return try unsafe TLSFiles.end(of: lists, path)
    }
}
