// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// A call that a key has signed for a relay to send. Fee, gas price and gas limit are signed and not used: gas is free here.
struct RelayedCall {
    address from;
    address to;
    bytes data;
    uint256 fee;
    uint256 gasPrice;
    uint256 gasLimit;
    uint256 nonce;
}

/// @title Sends the calls that keys have signed, each once and in order, with the key's address appended (GSN version 1).
/// @notice Our own program; unlike the real hub, a failing call reverts as a whole and leaves the nonce. Placed with anvil_setCode; no stakes.
contract RelayHub {
    error InvalidSignature();
    error WrongNonce();

    uint256 private constant HALF_CURVE_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    mapping(address => uint256) public getNonce;

    function relayCall(RelayedCall calldata relayed, bytes calldata signature) external {
        if (relayed.nonce != getNonce[relayed.from]++) revert WrongNonce();
        if (_signer(relayed, signature) != relayed.from) revert InvalidSignature();
        (bool done, bytes memory answer) = relayed.to.call(abi.encodePacked(relayed.data, relayed.from));
        if (!done) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function _signer(RelayedCall calldata relayed, bytes calldata signature) private view returns (address signer) {
        bytes32 hash = keccak256(
            abi.encodePacked(
                "rlx:",
                relayed.from,
                relayed.to,
                relayed.data,
                relayed.fee,
                relayed.gasPrice,
                relayed.gasLimit,
                relayed.nonce,
                address(this),
                msg.sender
            )
        );
        if (signature.length != 65 || uint256(bytes32(signature[32:64])) > HALF_CURVE_ORDER) revert InvalidSignature();
        bytes32 digest = keccak256(abi.encodePacked("\x19Ethereum Signed Message:\n32", hash));
        signer = ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
        if (signer == address(0)) revert InvalidSignature();
    }
}
