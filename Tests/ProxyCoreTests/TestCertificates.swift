import COpenSSL
import Glibc
import ProxyCore
import TestSupport

/// Self-signed certificates in a folder of their own, which goes with this value.
final class TestCertificates {
    private let directory: String
    private(set) var files: [CertificateFiles] = []

    /// One certificate for each list of DNS names; the first name is also its common name.
    init(_ names: [[String]]) throws {
        var template = Array("/tmp/proxycore-tls-XXXXXX".utf8CString)
        // The array is the function's to change, and ends in NUL.
        guard unsafe mkdtemp(&template) != nil else { throw Peer.Problem("mkdtemp") }
        directory = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        for (index, names) in names.enumerated() {
            let (certificate, key) = try TestCertificates.make(names)
            let pair = CertificateFiles(
                certificate: "\(directory)/\(index).pem", key: "\(directory)/\(index).key")
            try TestCertificates.write(certificate, to: pair.certificate)
            try TestCertificates.write(key, to: pair.key)
            files.append(pair)
        }
    }

    deinit {
        for pair in files {
            unsafe unlink(pair.certificate)
            unsafe unlink(pair.key)
        }
        unsafe rmdir(directory)
    }

    func context(
        profile: TLSProfile = .intermediate, protocols: [ApplicationProtocol] = [.http1], hosts: [TLSHosts] = []
    ) throws -> TLSContext {
        try TLSContext(
            TLSSettings(
                certificates: files, protocols: protocols, rules: TLSRules(profile: profile), hosts: hosts))
    }

    /// A certificate and its key as PEM.
    private static func make(_ names: [String]) throws -> (certificate: [UInt8], key: [UInt8]) {
        // Each pointer is freed when this function returns; nothing keeps it.
        guard let key = unsafe jose_generate_p256(), let certificate = unsafe X509_new() else {
            throw Peer.Problem("certificate")
        }
        defer {
            unsafe X509_free(certificate)
            unsafe EVP_PKEY_free(key)
        }
        let name = unsafe X509_get_subject_name(certificate)
        let common = Array((names.first ?? "nobody").utf8)
        var context = unsafe X509V3_CTX()
        unsafe X509V3_set_ctx(&context, certificate, certificate, nil, nil, 0)
        let list = names.map { "DNS:" + $0 }.joined(separator: ",")
        guard unsafe X509_set_version(certificate, 2) == 1,
            unsafe ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) == 1,
            unsafe X509_gmtime_adj(X509_getm_notBefore(certificate), -3600) != nil,
            unsafe X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) != nil,
            unsafe X509_set_pubkey(certificate, key) == 1,
            unsafe X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, common, CInt(common.count), -1, 0) == 1,
            unsafe X509_set_issuer_name(certificate, name) == 1,
            let alternatives = unsafe X509V3_EXT_conf_nid(nil, &context, NID_subject_alt_name, list)
        else { throw Peer.Problem("certificate") }
        defer { unsafe X509_EXTENSION_free(alternatives) }
        guard unsafe X509_add_ext(certificate, alternatives, -1) == 1,
            unsafe X509_sign(certificate, key, EVP_sha256()) > 0
        else { throw Peer.Problem("certificate") }
        let text = try unsafe pem { unsafe PEM_write_bio_X509($0, certificate) }
        let keyText = try unsafe pem { unsafe PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }
        return (text, keyText)
    }

    private static func pem(_ body: (OpaquePointer) -> CInt) throws -> [UInt8] {
        guard let memory = unsafe BIO_new(BIO_s_mem()) else { throw Peer.Problem("BIO") }
        defer { unsafe BIO_free(memory) }
        var bytes = [UInt8](repeating: 0, count: 16_384)
        // Room for as many bytes as it says.
        guard unsafe body(memory) == 1 else { throw Peer.Problem("PEM") }
        let count = unsafe BIO_read(memory, &bytes, CInt(bytes.count))
        guard count > 0 else { throw Peer.Problem("PEM") }
        return Array(bytes.prefix(Int(count)))
    }

    private static func write(_ bytes: [UInt8], to path: String) throws {
        let number = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard number >= 0 else { throw Peer.Problem("open \(path)") }
        defer { close(number) }
        // As many bytes as there are.
        guard unsafe Glibc.write(number, bytes, bytes.count) == bytes.count else { throw Peer.Problem("write \(path)") }
    }
}
