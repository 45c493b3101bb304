/*
 * libsrtp2 as a line-by-line program, for srtp_differential.rs.
 *
 *   srtp_peer SUITE HEX     the suite's name in a=crypto; master key and salt
 *
 * Each line read is a letter and a packet in hex: p protects RTP, u unprotects it, P and U do the
 * same with RTCP. Each line written is the packet made, or "!" and libsrtp's error number.
 */
#include <stdio.h>
#include <string.h>
#include <srtp2/srtp.h>

static int set_policy(const char *suite, srtp_policy_t *policy)
{
    srtp_crypto_policy_t *rtp = &policy->rtp, *rtcp = &policy->rtcp;
    if (!strcmp(suite, "AES_CM_128_HMAC_SHA1_80")) {
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(rtcp);
    } else if (!strcmp(suite, "AES_CM_128_HMAC_SHA1_32")) {
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(rtp);
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_80(rtcp);
    } else if (!strcmp(suite, "AES_256_CM_HMAC_SHA1_80")) {
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(rtp);
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(rtcp);
    } else if (!strcmp(suite, "AES_256_CM_HMAC_SHA1_32")) {
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32(rtp);
        srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(rtcp);
    } else if (!strcmp(suite, "AEAD_AES_128_GCM")) {
        srtp_crypto_policy_set_aes_gcm_128_16_auth(rtp);
        srtp_crypto_policy_set_aes_gcm_128_16_auth(rtcp);
    } else if (!strcmp(suite, "AEAD_AES_256_GCM")) {
        srtp_crypto_policy_set_aes_gcm_256_16_auth(rtp);
        srtp_crypto_policy_set_aes_gcm_256_16_auth(rtcp);
    } else {
        return 0;
    }
    return 1;
}

static int from_hex(const char *text, unsigned char *bytes, int room)
{
    int len = 0;
    unsigned byte;
    while (len < room && sscanf(text + 2 * len, "%2x", &byte) == 1)
        bytes[len++] = (unsigned char)byte;
    return len;
}

int main(int argc, char **argv)
{
    static char line[8192];
    unsigned char key[64] = {0}, packet[4096];
    srtp_policy_t policy = {0};
    srtp_t outbound, inbound;
    srtp_err_status_t status;

    if (argc != 3 || !set_policy(argv[1], &policy)) {
        fprintf(stderr, "usage: srtp_peer SUITE HEX\n");
        return 2;
    }
    from_hex(argv[2], key, sizeof key);
    policy.key = key;
    policy.window_size = 128;
    if ((status = srtp_init())) {
        fprintf(stderr, "srtp_init: error %d\n", status);
        return 1;
    }
    policy.ssrc.type = ssrc_any_outbound;
    status = srtp_create(&outbound, &policy);
    policy.ssrc.type = ssrc_any_inbound;
    if (!status)
        status = srtp_create(&inbound, &policy);
    if (status) {
        fprintf(stderr, "srtp_create for %s: error %d\n", argv[1], status);
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        int len = from_hex(line + 1, packet, sizeof packet - SRTP_MAX_TRAILER_LEN - 8);
        switch (line[0]) {
        case 'p': status = srtp_protect(outbound, packet, &len); break;
        case 'u': status = srtp_unprotect(inbound, packet, &len); break;
        case 'P': status = srtp_protect_rtcp(outbound, packet, &len); break;
        case 'U': status = srtp_unprotect_rtcp(inbound, packet, &len); break;
        default: return 2;
        }
        if (status) {
            printf("!%d\n", status);
        } else {
            for (int i = 0; i < len; i++)
                printf("%02x", packet[i]);
            printf("\n");
        }
        fflush(stdout);
    }
    return 0;
}
