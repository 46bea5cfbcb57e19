/// Why a token is not believed. The raw value is for logs and metrics; it holds nothing of the token.
public enum TokenError: String, Error, Sendable, CaseIterable {
    /// Longer than `TokenVerifier.tokenBytesMax`.
    case tooLong = "too_long"
    /// Not three parts with a dot between them; five would be an encrypted token.
    case notThreeParts = "not_three_parts"
    /// No base64url of a JSON object, or a parameter of the wrong type.
    case headerMalformed = "header_malformed"
    /// `crit`, or a parameter that lets the token choose its key (RFC 7515 sections 4.1.2 to 4.1.6), or one of an
    /// encrypted or unencoded form.
    case headerParameterRefused = "header_parameter_refused"
    /// `typ` is neither `JWT` nor `at+jwt`.
    case typeRefused = "type_refused"
    /// `alg` is none of those that the configuration permits.
    case algorithmRefused = "algorithm_refused"
    /// No key has the token's `kid`, or none fits its algorithm; the issuer may have new keys.
    case keyUnknown = "key_unknown"
    /// No base64url, or no signature of any key that fits.
    case signatureInvalid = "signature_invalid"
    /// Signed, but no base64url of a JSON object.
    case claimsMalformed = "claims_malformed"
    /// `iss` is missing or another.
    case issuerWrong = "issuer_wrong"
    /// `aud` is missing, or names none of the permitted audiences.
    case audienceWrong = "audience_wrong"
    /// `sub` is missing, empty, too long or no string.
    case subjectInvalid = "subject_invalid"
    /// `exp` is missing or no time.
    case expirationInvalid = "expiration_invalid"
    /// `nbf` is no time.
    case notBeforeInvalid = "not_before_invalid"
    /// `iat` is missing or no time.
    case issuedAtInvalid = "issued_at_invalid"
    /// Its time has passed.
    case expired
    /// Its time has not come.
    case notYetValid = "not_yet_valid"
    /// It claims to have been issued in the future.
    case issuedInFuture = "issued_in_future"
}
