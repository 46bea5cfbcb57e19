internal import COpenSSL
internal import EventLoop
internal import Glibc
internal import HTTPModel

/// What a read or a write on a connection came to; the only place that knows return codes and `errno`.
enum IOResult: Equatable {
    /// So many bytes were moved, at least one.
    case bytes(Int)
    /// Nothing now; readiness will say when.
    case wouldBlock
    /// The peer ended its direction in order.
    case closed
    /// The connection is of no more use.
    case failed
}

/// The socket side of every TLS session of one worker: OpenSSL reads ciphertext from the descriptor set here, and
/// writes into `output`, which the transport sends in as few system calls as it can.
///
/// One object for a worker suffices, because a worker is inside at most one session at a time.
@safe final class TLSWire {
    fileprivate(set) var descriptor: CInt = -1
    /// The last read took everything that the kernel had.
    fileprivate(set) var isDrained = false
    fileprivate(set) var sawEndOfInput = false
    var output = ByteBuffer()
    /// The worker's, for tickets of its sessions.
    var ticketKeys = TicketKeys()

    // Owned: created here, freed in deinit; sessions hold references of their own.
    private let bio: OpaquePointer

    init() {
        guard let method = unsafe BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "gateway"),
            let bio = unsafe BIO_new(method)
        else { preconditionFailure("out of memory") }
        unsafe BIO_meth_set_read(method, wireRead)
        unsafe BIO_meth_set_write(method, wireWrite)
        unsafe BIO_meth_set_ctrl(method, wireControl)
        unsafe self.bio = bio
        unsafe BIO_set_init(bio, 1)
        // The wire outlives its sessions: the worker owns both.
        unsafe BIO_set_data(bio, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit { _ = unsafe BIO_free(bio) }

    /// That of a session which was attached.
    static func of(_ session: OpaquePointer) -> TLSWire? { unsafe wireOf(SSL_get_rbio(session)) }

    fileprivate func attach(to session: OpaquePointer) {
        _ = unsafe BIO_up_ref(bio)
        unsafe SSL_set_bio(session, bio, bio)
    }

    fileprivate func prepare(_ descriptor: CInt) {
        self.descriptor = descriptor
        isDrained = false
        sawEndOfInput = false
        // What an earlier failure on this thread left behind would be taken for this call's; to look costs a fifth.
        if ERR_peek_error() != 0 { ERR_clear_error() }
    }

    fileprivate func receive(_ region: UnsafeMutablePointer<CChar>, _ length: Int) -> Int {
        let received = unsafe recv(descriptor, region, length, 0)
        if received < length { isDrained = true }
        if received == 0 { sawEndOfInput = true }
        return received
    }
}

/// One TLS session (server side). Writes never block: what they produce waits in the wire's output.
@safe struct TLSSession: ~Copyable {
    // Owned: from SSL_new, freed in deinit.
    let session: OpaquePointer
    private let wire: TLSWire
    private let context: TLSContext

    init?(context: TLSContext, wire: TLSWire) {
        guard let session = unsafe context.makeSession() else { return nil }
        unsafe self.session = session
        self.wire = wire
        self.context = context
        unsafe wire.attach(to: session)
        unsafe SSL_set_accept_state(session)
    }

    deinit { unsafe SSL_free(session) }

    /// Goes on with the handshake: `bytes(0)` stands for done.
    mutating func handshake(_ descriptor: CInt) -> IOResult {
        wire.prepare(descriptor)
        let code = unsafe SSL_do_handshake(session)
        guard code == 1 else { return outcome(code) }
        forgetHandshake()
        return .bytes(0)
    }

    /// Gives back what served the handshake alone and OpenSSL would keep as long as the session: the name that the
    /// client asked for, the key pair that was made for it, wiped, and the client's key. That is 430 bytes for each
    /// idle connection, and no private key is left in memory for whoever gets to see it.
    private func forgetHandshake() {
        _ = unsafe SSL_ctrl(session, SSL_CTRL_SET_TLSEXT_HOSTNAME, CLong(TLSEXT_NAMETYPE_host_name), nil)
        _ = ERR_set_mark()
        for which in [SSL_CTRL_GET_TMP_KEY, SSL_CTRL_GET_PEER_TMP_KEY] {
            var key: OpaquePointer?
            // Gives a reference of our own, if there is such a key.
            guard unsafe SSL_ctrl(session, which, 0, &key) == 1 else { continue }
            // A key without a type has nothing in it; that there is no such type is an error all the same.
            _ = unsafe EVP_PKEY_set_type(key, EVP_PKEY_NONE)
            unsafe EVP_PKEY_free(key)
        }
        _ = ERR_pop_to_mark()
    }

    /// Reads plaintext. `isDrained` turns true when neither OpenSSL nor, as far as is known, the kernel has more.
    mutating func read(
        _ descriptor: CInt, into region: UnsafeMutableRawBufferPointer, isDrained: inout Bool
    ) -> IOResult {
        wire.prepare(descriptor)
        var total = 0
        while total < region.count {
            // Within the region; SSL_read writes no more than it is told.
            let target = unsafe region.baseAddress.map { unsafe $0 + total }
            let code = unsafe SSL_read(session, target, CInt(clamping: region.count - total))
            if code <= 0 {
                if total > 0 { break }
                let result = outcome(code)
                isDrained = result == .wouldBlock
                return result
            }
            total += Int(code)
            if unsafe SSL_has_pending(session) == 0, wire.isDrained {
                isDrained = true
                break
            }
        }
        return .bytes(total)
    }

    /// How much ciphertext is read at once, from when the buffer is empty; at least a record.
    mutating func setReadBuffer(_ byteCount: Int) { unsafe SSL_set_default_read_buffer_len(session, byteCount) }

    /// Encrypts all the bytes into the wire's output.
    mutating func write(_ descriptor: CInt, _ bytes: Span<UInt8>) -> Bool {
        wire.prepare(descriptor)
        return unsafe bytes.withUnsafeBufferPointer { region in
            var written = 0
            while written < region.count {
                let chunk = min(region.count - written, 16_384)
                // Within the region, which lives for the call.
                let code = unsafe SSL_write(session, region.baseAddress.map { unsafe $0 + written }, CInt(chunk))
                if code <= 0 { return false }
                written += Int(code)
            }
            return true
        }
    }

    /// Says to the peer that nothing more will come.
    mutating func closeNotify(_ descriptor: CInt) {
        wire.prepare(descriptor)
        _ = unsafe SSL_shutdown(session)
    }

    /// What the handshake came to, which is over.
    var facts: HandshakeFacts {
        let policy = unsafe context.policy(of: session)
        guard policy.asksForCertificate, let certificate = unsafe SSL_get0_peer_certificate(session) else {
            return HandshakeFacts(policy: policy, clientCertificate: nil)
        }
        // The names were found sound when the chain was verified.
        return unsafe HandshakeFacts(policy: policy, clientCertificate: ClientCertificate(certificate))
    }

    var wasResumed: Bool { unsafe SSL_session_reused(session) == 1 }

    /// Whether HTTP/2 was agreed on; to be asked after the handshake.
    var isHTTP2: Bool {
        var name: UnsafePointer<UInt8>?
        var count: CUnsignedInt = 0
        unsafe SSL_get0_alpn_selected(session, &name, &count)
        // OpenSSL owns `count` bytes there while the session lives; no other protocol of ours has two.
        return unsafe count == 2 && UnsafeBufferPointer(start: name, count: 2).elementsEqual("h2".utf8)
    }

    private func outcome(_ code: CInt) -> IOResult {
        switch unsafe SSL_get_error(session, code) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: .wouldBlock
        case SSL_ERROR_ZERO_RETURN: .closed
        default: wire.sawEndOfInput ? .closed : .failed
        }
    }
}

private func wireOf(_ bio: OpaquePointer?) -> TLSWire? {
    guard let data = unsafe BIO_get_data(bio) else { return nil }
    return unsafe Unmanaged<TLSWire>.fromOpaque(data).takeUnretainedValue()
}

private func wireRead(_ bio: OpaquePointer?, _ region: UnsafeMutablePointer<CChar>?, _ length: CInt) -> CInt {
    guard let wire = unsafe wireOf(bio), let region = unsafe region else { return -1 }
    unsafe copenssl_bio_clear_retry(bio)
    let received = unsafe wire.receive(region, Int(length))
    if received < 0, errno == EAGAIN || errno == EINTR { unsafe copenssl_bio_set_retry_read(bio) }
    return CInt(received)
}

private func wireWrite(_ bio: OpaquePointer?, _ bytes: UnsafePointer<CChar>?, _ length: CInt) -> CInt {
    guard let wire = unsafe wireOf(bio), let bytes = unsafe bytes, length >= 0 else { return -1 }
    unsafe copenssl_bio_clear_retry(bio)
    // OpenSSL promises `length` bytes there for the length of the call.
    let region = unsafe UnsafeRawBufferPointer(start: bytes, count: Int(length))
    unsafe wire.output.append(Span<UInt8>(_unsafeBytes: region))
    return length
}

private func wireControl(
    _ bio: OpaquePointer?, _ command: CInt, _ number: CLong, _ pointer: UnsafeMutableRawPointer?
) -> CLong {
    command == BIO_CTRL_FLUSH ? 1 : 0
}
