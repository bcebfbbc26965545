// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1271} from "./Interfaces.sol";
import {ShareReceiver} from "./ShareReceiver.sol";

struct WalletCall {
    address target;
    bytes data;
}

/// One call of a batch by signature, as clients sign it (EIP-712 Call).
struct BatchCall {
    address target;
    uint256 value;
    bytes data;
}

/// @title A paper deposit wallet: one owner, whose nested signature (ERC-7739) it accepts for orders.
/// @notice Our own program. The key signs the order inside a TypedDataSign of this wallet; the exchange is given
/// signature (65) | exchange domain separator (32) | order struct hash (32) | order type | its length (2).
/// Placed with anvil_setCode at the wallet's derived address: its owner is set by initialize. No factory, no sessions.
contract DepositWallet is IERC1271, ShareReceiver {
    error AlreadyInitialized();
    error CallFailed();
    error DeadlinePassed();
    error InvalidBatchSignature();
    error NotOwner();
    error WrongNonce();

    bytes4 private constant REFUSED = 0xffffffff;
    uint256 private constant HALF_CURVE_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CALL_TYPEHASH = keccak256("Call(address target,uint256 value,bytes data)");
    bytes32 private constant BATCH_TYPEHASH = keccak256(
        "Batch(address wallet,uint256 nonce,uint256 deadline,Call[] calls)Call(address target,uint256 value,bytes data)"
    );

    address public owner;
    uint256 public nonce;

    function initialize(address owner_) external {
        if (owner != address(0)) revert AlreadyInitialized();
        owner = owner_;
    }

    function execute(WalletCall[] calldata calls) external {
        if (msg.sender != owner) revert NotOwner();
        for (uint256 i = 0; i < calls.length; i++) {
            (bool done,) = calls[i].target.call(calls[i].data);
            if (!done) revert CallFailed();
        }
    }

    /// Anybody may send what the owner has signed: once, and until the deadline. A call that fails undoes all, with its reason.
    function executeBatch(uint256 nonce_, uint256 deadline, BatchCall[] calldata calls, bytes calldata signature) external {
        if (block.timestamp > deadline) revert DeadlinePassed();
        if (nonce_ != nonce++) revert WrongNonce();
        if (signature.length != 65) revert InvalidBatchSignature();
        address signer = _recover(_batchHash(nonce_, deadline, calls), signature);
        if (signer == address(0) || signer != owner) revert InvalidBatchSignature();
        for (uint256 i = 0; i < calls.length; i++) {
            (bool done, bytes memory answer) = calls[i].target.call{value: calls[i].value}(calls[i].data);
            if (done) continue;
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length < 131) return REFUSED;
        uint256 typeLength = uint16(bytes2(signature[signature.length - 2:]));
        if (signature.length != 131 + typeLength) return REFUSED;
        bytes32 domain = bytes32(signature[65:97]);
        bytes32 contents = bytes32(signature[97:129]);
        if (digest != keccak256(abi.encodePacked(hex"1901", domain, contents))) return REFUSED;
        bytes32 nested = _nestedHash(contents, signature[129:129 + typeLength]);
        address signer = _recover(keccak256(abi.encodePacked(hex"1901", domain, nested)), signature[:65]);
        return signer != address(0) && signer == owner ? IERC1271.isValidSignature.selector : REFUSED;
    }

    function _batchHash(uint256 nonce_, uint256 deadline, BatchCall[] calldata calls) private view returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](calls.length);
        for (uint256 i = 0; i < calls.length; i++) {
            hashes[i] = keccak256(abi.encode(CALL_TYPEHASH, calls[i].target, calls[i].value, keccak256(calls[i].data)));
        }
        bytes32 domain =
            keccak256(abi.encode(DOMAIN_TYPEHASH, keccak256("DepositWallet"), keccak256("1"), block.chainid, address(this)));
        bytes32 batch =
            keccak256(abi.encode(BATCH_TYPEHASH, address(this), nonce_, deadline, keccak256(abi.encodePacked(hashes))));
        return keccak256(abi.encodePacked(hex"1901", domain, batch));
    }

    function _nestedHash(bytes32 contents, bytes calldata contentsType) private view returns (bytes32) {
        bytes32 typeHash = keccak256(
            abi.encodePacked(
                "TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,bytes32 salt)",
                contentsType
            )
        );
        return keccak256(
            abi.encode(typeHash, contents, keccak256("DepositWallet"), keccak256("1"), block.chainid, address(this), bytes32(0))
        );
    }

    function _recover(bytes32 digest, bytes calldata signature) private pure returns (address) {
        if (uint256(bytes32(signature[32:64])) > HALF_CURVE_ORDER) return address(0);
        return ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64]));
    }
}
