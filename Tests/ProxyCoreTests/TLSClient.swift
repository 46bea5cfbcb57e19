import COpenSSL
import Glibc
import Synchronization
import TestSupport

/// A TLS client of OpenSSL's over a peer: it blocks, and it sees and sends single records, so that a test decides what
/// goes over the wire and when.
///
/// Belongs to the thread of its test.
@safe final class TLSClient {
    struct Options {
        var serverName: String?
        var protocols: [String] = []
        /// The only version that is offered; `nil` for what OpenSSL offers by itself.
        var version: CInt?
        /// OpenSSL's list for TLS 1.2 and earlier.
        var ciphers: String?
        var resuming: TLSTicket?
        /// Cuts whatever is sent after so many bytes, and sends the rest when the gateway has seen the first part.
        var cut: (offset: Int, whenSeen: () -> Void)?
    }

    let peer: Peer
    private let options: Options
    // Owned: from SSL_CTX_new and SSL_new, freed in deinit. The session owns its two memory BIOs.
    private let context: OpaquePointer
    private let session: OpaquePointer
    private let input: OpaquePointer
    private let output: OpaquePointer
    /// The tickets that came, in order.
    private(set) var tickets: [TLSTicket] = []

    init(_ gateway: TestGateway, _ options: Options = Options()) throws {
        peer = try gateway.connect()
        self.options = options
        guard let context = unsafe SSL_CTX_new(TLS_client_method()), let session = unsafe SSL_new(context),
            let input = unsafe BIO_new(BIO_s_mem()), let output = unsafe BIO_new(BIO_s_mem())
        else { throw Peer.Problem("TLS client") }
        unsafe self.context = context
        unsafe self.session = session
        unsafe self.input = input
        unsafe self.output = output
        unsafe SSL_set_bio(session, input, output)
        unsafe SSL_set_connect_state(session)
        try configure()
    }

    deinit {
        // Else OpenSSL would take the end for a failure, and the tickets for spoilt.
        unsafe SSL_set_shutdown(session, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        unsafe SSL_free(session)
        unsafe SSL_CTX_free(context)
    }

    private func configure() throws {
        // Versions and ciphers that OpenSSL keeps off by itself are for the gateway to refuse.
        unsafe SSL_set_security_level(session, 0)
        if let version = options.version {
            unsafe SSL_ctrl(session, SSL_CTRL_SET_MIN_PROTO_VERSION, CLong(version), nil)
            unsafe SSL_ctrl(session, SSL_CTRL_SET_MAX_PROTO_VERSION, CLong(version), nil)
        }
        let ciphers = options.ciphers ?? "ALL:@SECLEVEL=0"
        guard unsafe SSL_set_cipher_list(session, ciphers) == 1 else { throw Peer.Problem("ciphers") }
        if let name = options.serverName {
            var text = Array(name.utf8CString)
            // OpenSSL copies the name, which ends in NUL.
            let code = unsafe SSL_ctrl(
                session, SSL_CTRL_SET_TLSEXT_HOSTNAME, CLong(TLSEXT_NAMETYPE_host_name), &text)
            guard code == 1 else { throw Peer.Problem("server name") }
        }
        if !options.protocols.isEmpty {
            let list = options.protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
            // OpenSSL copies as many bytes as there are.
            guard unsafe SSL_set_alpn_protos(session, list, CUnsignedInt(list.count)) == 0 else {
                throw Peer.Problem("ALPN")
            }
        }
        if let ticket = options.resuming {
            guard unsafe SSL_set_session(session, ticket.pointer) == 1 else { throw Peer.Problem("session") }
        }
        // The callback runs within calls of this object alone, which it therefore outlives.
        unsafe SSL_set_ex_data(session, 0, Unmanaged.passUnretained(self).toOpaque())
        // Without a cache of its own, whose end would spoil the tickets.
        let mode = CLong(SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_LOOKUP | SSL_SESS_CACHE_NO_INTERNAL_STORE)
        unsafe SSL_CTX_ctrl(context, SSL_CTRL_SET_SESS_CACHE_MODE, mode, nil)
        unsafe SSL_CTX_sess_set_new_cb(context, ticketArrived)
    }

    fileprivate func keep(_ ticket: TLSTicket) { tickets.append(ticket) }

    // MARK: Facts

    /// What would be resumed now: OpenSSL tells of a ticket that came with a resumed session of TLS 1.2 in no other way.
    var session12: TLSTicket? { unsafe SSL_get1_session(session).map { unsafe TLSTicket(adopting: $0) } }

    var version: CInt { unsafe SSL_version(session) }
    var wasResumed: Bool { unsafe SSL_session_reused(session) == 1 }

    /// The common name in the gateway's certificate.
    var certificateName: String? {
        guard let certificate = unsafe SSL_get1_peer_certificate(session) else { return nil }
        defer { unsafe X509_free(certificate) }
        var text = [CChar](repeating: 0, count: 256)
        // Room for as many bytes as it says, NUL included.
        let count = unsafe X509_NAME_get_text_by_NID(
            X509_get_subject_name(certificate), NID_commonName, &text, CInt(text.count))
        return count < 0 ? nil : String(decoding: text.prefix(Int(count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// The protocol that the gateway chose; `nil` for none.
    var chosenProtocol: String? {
        var name: UnsafePointer<UInt8>?
        var count: CUnsignedInt = 0
        unsafe SSL_get0_alpn_selected(session, &name, &count)
        guard let name = unsafe name else { return nil }
        // OpenSSL owns `count` bytes there while the session lives.
        return unsafe String(decoding: UnsafeBufferPointer(start: name, count: Int(count)), as: UTF8.self)
    }

    /// The number of the fatal alert that ended the handshake (RFC 8446 section 6); `nil` for none.
    private(set) var alert: CInt?

    // MARK: Handshake

    /// Goes through the handshake; `false` where the gateway ends it.
    func handshake() -> Bool {
        while true {
            ERR_clear_error()
            let code = unsafe SSL_do_handshake(session)
            let error = unsafe SSL_get_error(session, code)
            guard sendOutput() else { return false }
            if code == 1 { return true }
            if error == SSL_ERROR_SSL {
                // OpenSSL's reason for an alert that came is 1,000 and its number.
                let reason = CInt(ERR_peek_error() & 0x7F_FFFF)
                alert = (1000..<1256).contains(reason) ? reason - 1000 : nil
            }
            guard error == SSL_ERROR_WANT_READ, readRecord() else { return false }
        }
    }

    /// The first flight, not sent.
    func clientHello() -> [UInt8] {
        _ = unsafe SSL_do_handshake(session)
        return takeOutput()
    }

    /// Asks for a new handshake within TLS 1.2; `false` where that fails.
    func renegotiate() -> Bool {
        guard unsafe SSL_renegotiate(session) == 1 else { return false }
        return handshake()
    }

    // MARK: Data

    /// Encrypts without sending.
    func encrypt(_ text: String) -> [UInt8] {
        let bytes = Array(text.utf8)
        // As many bytes as there are.
        guard unsafe SSL_write(session, bytes, CInt(bytes.count)) == CInt(bytes.count) else { return [] }
        return takeOutput()
    }

    @discardableResult
    func send(_ text: String) -> Bool { send(bytes: encrypt(text)) }

    /// Says that nothing more will be sent, and leaves the connection open.
    func closeNotify() {
        _ = unsafe SSL_shutdown(session)
        _ = sendOutput()
    }

    /// Plaintext up to and with the mark; to the end if it does not come.
    func read(until mark: String) -> String {
        var text: [UInt8] = []
        let wanted = Array(mark.utf8)
        var room = [UInt8](repeating: 0, count: 16_384)
        while !text.suffix(wanted.count).elementsEqual(wanted) {
            ERR_clear_error()
            // One byte at a time: what is behind the mark stays.
            let count = unsafe SSL_read(session, &room, 1)
            if count > 0 { text += room.prefix(Int(count)) }
            let error = unsafe SSL_get_error(session, count)
            if count <= 0, error != SSL_ERROR_WANT_READ || !readRecord() { break }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// How the gateway ended the connection, and what plaintext came before.
    func readToEnd() -> (text: String, endsInOrder: Bool) {
        let text = read(until: "\0")
        return (text, unsafe SSL_get_shutdown(session) & SSL_RECEIVED_SHUTDOWN != 0)
    }

    /// The status of one answer with a body of two bytes.
    func readAnswer() -> String {
        let head = read(until: "\r\n\r\n")
        return head.isEmpty ? "" : head + read(until: "ok")
    }

    // MARK: Wire

    /// Sends bytes as they are, in two parts where that was asked for.
    @discardableResult
    func send(bytes: [UInt8]) -> Bool {
        guard let cut = options.cut, cut.offset < bytes.count else { return bytes.isEmpty || peer.send(bytes) }
        guard peer.send(Array(bytes[..<cut.offset])) else { return false }
        cut.whenSeen()
        return peer.send(Array(bytes[cut.offset...]))
    }

    private func sendOutput() -> Bool { send(bytes: takeOutput()) }

    private func takeOutput() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(unsafe BIO_ctrl_pending(output)))
        guard !bytes.isEmpty else { return [] }
        // Room for as many bytes as wait.
        let count = unsafe BIO_read(output, &bytes, CInt(bytes.count))
        return Array(bytes.prefix(Int(max(0, count))))
    }

    /// Gives OpenSSL the next record of the gateway's; `false` when none comes.
    func readRecord() -> Bool {
        let head = peer.read(count: 5)
        guard head.count == 5 else { return false }
        let body = peer.read(count: Int(head[3]) << 8 | Int(head[4]))
        let record = head + body
        // A memory BIO takes all.
        return unsafe BIO_write(input, record, CInt(record.count)) == CInt(record.count)
    }
}

/// A session that a gateway gave to a client, good for another connection.
@safe final class TLSTicket {
    // Owned: a reference of its own, freed in deinit.
    fileprivate let pointer: OpaquePointer

    fileprivate init(adopting pointer: OpaquePointer) { unsafe self.pointer = pointer }

    deinit { unsafe SSL_SESSION_free(pointer) }

    /// The same with one byte of the gateway's ticket changed.
    func changed(at offset: Int) -> TLSTicket? {
        var ticket: UnsafePointer<UInt8>?
        var count = 0
        unsafe SSL_SESSION_get0_ticket(pointer, &ticket, &count)
        guard let ticket = unsafe ticket, offset < count else { return nil }
        // OpenSSL owns `count` bytes there while the session lives.
        let known = unsafe Array(UnsafeBufferPointer(start: ticket, count: count))
        var whole = [UInt8](repeating: 0, count: Int(unsafe i2d_SSL_SESSION(pointer, nil)))
        // As many bytes as it says that there are.
        unsafe whole.withUnsafeMutableBufferPointer { region in
            var position = region.baseAddress
            _ = unsafe i2d_SSL_SESSION(pointer, &position)
        }
        guard let start = whole.indices.first(where: { whole[$0...].starts(with: known) }) else { return nil }
        whole[start + offset] ^= 1
        // OpenSSL moves the pointer within the array.
        let copy = unsafe whole.withUnsafeBufferPointer { region in
            var position = region.baseAddress
            return unsafe d2i_SSL_SESSION(nil, &position, region.count)
        }
        return unsafe copy.map { unsafe TLSTicket(adopting: $0) }
    }
}

/// 1: the session's reference is ours now.
private func ticketArrived(_ session: OpaquePointer?, _ ticket: OpaquePointer?) -> CInt {
    guard let owner = unsafe SSL_get_ex_data(session, 0), let ticket = unsafe ticket else { return 0 }
    unsafe Unmanaged<TLSClient>.fromOpaque(owner).takeUnretainedValue().keep(TLSTicket(adopting: ticket))
    return 1
}
