import COpenSSL

/// Asks OpenSSL about PEM files, by the functions that load them for serving.
enum PEMFiles {
    /// Why a certificate with its chain cannot be used; `nil` if it can.
    static func refusal(certificate path: String) -> String? {
        unsafe withContext { context in unsafe SSL_CTX_use_certificate_chain_file(context, path) == 1 }
    }

    /// Why a private key cannot be used; `nil` if it can.
    static func refusal(key path: String) -> String? {
        unsafe withContext { context in unsafe SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) == 1 }
    }

    /// Why certificates cannot vouch for others; `nil` if they can.
    static func refusal(authorities path: String) -> String? {
        unsafe withContext { context in unsafe SSL_CTX_load_verify_locations(context, path, nil) == 1 }
    }

    /// Whether both can be used, and the key is the certificate's.
    static func belongTogether(certificate: String, key: String) -> Bool {
        let refusal = unsafe withContext { context in
            unsafe SSL_CTX_use_certificate_chain_file(context, certificate) == 1
                && SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1
                && SSL_CTX_check_private_key(context) == 1
        }
        return refusal == nil
    }

    /// OpenSSL's reasons where `body` says no.
    private static func withContext(_ body: (OpaquePointer) -> Bool) -> String? {
        ERR_clear_error()
        guard let context = unsafe SSL_CTX_new(TLS_server_method()) else { return "out of memory" }
        // The context belongs to this call; `body` does not keep it.
        defer { unsafe SSL_CTX_free(context) }
        // A file with a passphrase is refused; nobody is asked at a terminal.
        unsafe SSL_CTX_set_default_passwd_cb(context) { _, _, _, _ in 0 }
        guard unsafe !body(context) else { return nil }
        var reasons: [String] = []
        while true {
            let code = ERR_get_error()
            if code == 0 { break }
            // A constant text of the library.
            guard let reason = unsafe ERR_reason_error_string(code) else { continue }
            let text = unsafe String(cString: reason)
            if !reasons.contains(text) { reasons.append(text) }
        }
        return reasons.isEmpty ? "OpenSSL does not say why" : reasons.joined(separator: ", ")
    }
}
