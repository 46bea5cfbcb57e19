internal import COpenSSL
internal import HTTPModel

/// What an authority says of one certificate (RFC 6960), to be sent with it (RFC 6066 section 8).
public struct OCSPStaple: Sendable {
    /// Its file.
    public let path: String
    /// Seconds since the epoch; it is not sent any more from then on.
    public let goodUntil: Int64
    let response: [UInt8]

    /// Reads one, and checks that it vouches for the certificate now.
    init(_ path: String, for certificate: OpaquePointer, now: Int64) throws(TLSError) {
        self.path = path
        response = try TLSFiles.read(path)
        guard response.count <= OCSPStaple.bytesMax else { throw TLSError("\(path): more than 64 KiB") }
        ERR_clear_error()
        // OpenSSL moves the pointer within the array; what it makes is freed when this function returns.
        let parsed = unsafe response.withUnsafeBufferPointer { region in
            var position = region.baseAddress
            return unsafe d2i_OCSP_RESPONSE(nil, &position, region.count)
        }
        guard let parsed = unsafe parsed else { throw TLSError("\(path): no OCSP response in DER") }
        defer { unsafe OCSP_RESPONSE_free(parsed) }
        let status = unsafe OCSP_response_status(parsed)
        guard status == OCSP_RESPONSE_STATUS_SUCCESSFUL, let basic = unsafe OCSP_response_get1_basic(parsed) else {
            throw TLSError("\(path): the responder did not answer the question (status \(status))")
        }
        defer { unsafe OCSP_BASICRESP_free(basic) }
        for index in 0..<(unsafe OCSP_resp_count(basic)) {
            guard let single = unsafe OCSP_resp_get0(basic, index),
                unsafe OCSPStaple.isAbout(single, certificate)
            else { continue }
            goodUntil = try unsafe OCSPStaple.end(of: single, path, now)
            return
        }
        throw TLSError("\(path): the response is for another certificate")
    }

    /// Whether serial number and issuer are those of the certificate.
    private static func isAbout(_ single: OpaquePointer, _ certificate: OpaquePointer) -> Bool {
        var nameDigest: UnsafeMutablePointer<ASN1_OCTET_STRING>?
        var algorithm: OpaquePointer?
        var serial: UnsafeMutablePointer<ASN1_INTEGER>?
        // Everything that is pointed to is the response's or the certificate's, and lives as long as they do.
        guard let identifier = unsafe OCSP_SINGLERESP_get0_id(single),
            unsafe OCSP_id_get0_info(&nameDigest, &algorithm, nil, &serial, identifier) == 1,
            let nameDigest = unsafe nameDigest,
            unsafe ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(certificate)) == 0,
            let method = unsafe copenssl_digest(algorithm)
        else { return false }
        var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: CUnsignedInt = 0
        guard unsafe X509_NAME_digest(X509_get_issuer_name(certificate), method, &digest, &count) == 1 else {
            return false
        }
        let known = unsafe UnsafeBufferPointer(
            start: ASN1_STRING_get0_data(nameDigest), count: Int(ASN1_STRING_length(nameDigest)))
        return unsafe known.elementsEqual(digest.prefix(Int(count)))
    }

    /// When the response ends; it must be good now and say so of the certificate.
    private static func end(of single: OpaquePointer, _ path: String, _ now: Int64) throws(TLSError) -> Int64 {
        var start: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
        var end: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
        // Both times are the response's.
        let status = unsafe OCSP_single_get0_status(single, nil, nil, &start, &end)
        guard status == V_OCSP_CERTSTATUS_GOOD else {
            throw TLSError("\(path): the response says that the certificate is revoked or unknown")
        }
        guard let begin = unsafe TLSFiles.epochSeconds(start), begin <= now + clockSkewSeconds else {
            throw TLSError("\(path): the response is not valid yet")
        }
        guard let last = unsafe TLSFiles.epochSeconds(end) else {
            throw TLSError("\(path): the response does not say when it ends (nextUpdate)")
        }
        guard last > now else {
            throw TLSError("\(path): the response has ended (\(CivilTime(epochSeconds: last).httpDate))")
        }
        return last
    }

    private static let clockSkewSeconds: Int64 = 300
    private static let bytesMax = 65_536
}
